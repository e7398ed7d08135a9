import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const MODELS = join('fixtures', 'models');

/** Folders of fixtures/models that hold what transformers and PEFT computed; a new one is tested at once. */
export const tinyModels: readonly string[] = readdirSync(MODELS)
  .map((name) => join(MODELS, name))
  .filter((folder) => existsSync(join(folder, 'golden.json')));

/** golden.json of a tiny model. */
export interface Golden {
  readonly rows: readonly (readonly number[])[];
  /** Mean over all predicted tokens of the rows. */
  readonly loss: number;
  readonly adamw: {
    readonly lr: number;
    readonly betas: readonly [number, number];
    readonly eps: number;
    readonly weight_decay: number;
  };
  /** Losses before each step. */
  readonly lora_losses: readonly number[];
}

/** Reads what was computed for a tiny model. */
export function readGolden(folder: string): Golden {
  return JSON.parse(readFileSync(join(folder, 'golden.json'), 'utf8'));
}

/** Below it a gradient is zero but for rounding: a key bias moves all scores of a query alike. */
const ZERO = 1e-3;

/** max|a - b| / max|b|. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let [worst, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs((actual[i] ?? 0) - (expected[i] ?? 0));
    // NaN must not get lost in a comparison.
    if (Number.isNaN(difference)) return Number.NaN;
    worst = Math.max(worst, difference);
    largest = Math.max(largest, Math.abs(expected[i] ?? 0));
  }
  return worst / Math.max(largest, ZERO);
}
