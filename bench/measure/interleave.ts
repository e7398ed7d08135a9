import type { Peaks } from './limits.js';
import type { Contender, Figures } from './work.js';

/** All runs of a contender. */
export interface Runs {
  readonly name: string;
  readonly figures: Figures[];
  /** What the machine gave just before and just after each run. */
  readonly probes: Partial<Peaks>[];
  /** Why it did not finish. */
  error?: string;
}

/** Measures what moves with the neighbours; nothing where it cannot. */
export type Probe = () => Promise<Partial<Peaks>>;

/**
 * Runs contenders in turns, A B C A B C, so that a slower minute of the machine hits all of them.
 * One that fails is left out from then on; llmkit, the first, must not.
 */
export async function interleave(
  contenders: readonly Contender[],
  { rounds, probe }: { rounds: number; probe: Probe },
): Promise<Runs[]> {
  const runs = contenders.map(({ name }): Runs => ({ name, figures: [], probes: [] }));
  for (let round = 0; round < rounds; round++) {
    for (const [i, contender] of contenders.entries()) {
      const own = runs[i] as Runs;
      if (own.error === undefined) await runOnce(contender, own, probe);
      if (i === 0 && own.error !== undefined) throw new Error(own.error);
    }
  }
  return runs;
}

async function runOnce(contender: Contender, runs: Runs, probe: Probe): Promise<void> {
  const before = await probe();
  try {
    runs.figures.push(await contender.measure());
  } catch (error) {
    runs.error = `${contender.name}: ${(error as Error).message}`;
    return;
  }
  runs.probes.push(before, await probe());
}
