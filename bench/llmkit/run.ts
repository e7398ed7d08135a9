import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BenchContext } from '../context.js';
import { type ChildResult, type Environment, runChild } from '../measure/child.js';
import { median } from '../measure/median.js';
import { driverPath, libraryPath, programPath } from '../paths.js';
import type { GenerateAnswer, GenerateJob } from './generate.js';
import type { ScoreAnswer, ScoreJob } from './score.js';

/** An answer with the memory its process held. */
export type WithPeak<T> = T & { readonly peakBytes: number | undefined };

/** Generates in a process of its own. */
export function runGenerate(
  { root, text }: BenchContext,
  job: Omit<GenerateJob, 'library' | 'text'>,
  env?: Environment,
): Promise<WithPeak<GenerateAnswer>> {
  const whole = { ...job, library: libraryPath(root), text };
  return runDriver(driverPath(root, 'generate'), whole, env);
}

/** Scores a text in a process of its own. */
export function runScore(
  { root, text }: BenchContext,
  job: Omit<ScoreJob, 'library' | 'text'>,
): Promise<WithPeak<ScoreAnswer>> {
  return runDriver(driverPath(root, 'score'), { ...job, library: libraryPath(root), text });
}

async function runDriver<T>(
  driver: string,
  job: GenerateJob | ScoreJob,
  env?: Environment,
): Promise<WithPeak<T>> {
  const args = [driver, JSON.stringify(job)];
  const { stdout, peakBytes } = await runChild(process.execPath, args, env);
  return { ...(JSON.parse(stdout) as T), peakBytes };
}

/** Runs the command line. */
export function runProgram(
  { root }: BenchContext,
  args: readonly string[],
  env?: Environment,
): Promise<ChildResult> {
  return runChild(process.execPath, [programPath(root), ...args], env);
}

/** Keys of a training config, as `llmkit lora-train` has them. */
export type TrainingKeys = Readonly<Record<string, unknown>>;

/** What a training run took, llmkit's or a peer's. */
export interface TrainingFigures {
  /** Of a step: the median, the first left out. */
  readonly stepSeconds: number;
  /** The most its process held at once. */
  readonly peakBytes: number | undefined;
  /** The most of a GPU's memory that its arrays took at once; undefined without one. */
  readonly devicePeakBytes: number | undefined;
}

/** Trains a few steps. */
export async function runTraining(
  context: BenchContext,
  keys: TrainingKeys,
): Promise<TrainingFigures> {
  const output = mkdtempSync(join(tmpdir(), 'llmkit-bench-'));
  try {
    const values = { ...keys, output_dir: join(output, 'run'), lr_scheduler: 'constant' };
    const sets = Object.entries(values).flatMap(([key, value]) => [
      '--set',
      `${key}=${JSON.stringify(value)}`,
    ]);
    const { stdout, peakBytes } = await runProgram(context, ['lora-train', '--json', ...sets]);
    const lines = readFileSync(join(output, 'run', 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const seconds = lines.slice(1).map((line) => JSON.parse(line).seconds as number);
    const devicePeakBytes: number | undefined = JSON.parse(stdout).peak_device_bytes;
    return { stepSeconds: median(seconds), peakBytes, devicePeakBytes };
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}
