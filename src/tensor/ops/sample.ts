import { chooseToken, noFiniteLogits, type Sampling } from '../sampling.js';
import type * as tf from '../tfjs.js';
import { expectShape, hasKernel, runKernel } from './fused.js';

/** Kernel of `sample`: input logits; attributes sampling, rows; output int32 [B], -1 where none is finite. */
export const SAMPLE = 'LlmkitSample';

/** What one row's choice depends on besides its logits. */
export interface SampleRow {
  /** Distinct ids whose scores the repetition penalty lowers; not looked at without one. */
  readonly seen: Iterable<number>;
  /** In [0, 1). */
  readonly uniform: number;
}

/**
 * Chooses a token per row; see `chooseToken`. The logits stay where they are.
 *
 * @param logits [B, V]
 * @throws LlmkitError `shape`, `kernel` when a row has no finite logit
 */
export function sample(
  logits: tf.Tensor2D,
  rows: readonly SampleRow[],
  sampling: Sampling,
): Int32Array {
  const [, V] = logits.shape;
  expectShape('sample: logits', logits.shape, [rows.length, V]);
  if (!hasKernel(SAMPLE)) {
    const values = logits.dataSync<'float32'>() as Float32Array;
    const row = (b: number) => values.subarray(b * V, (b + 1) * V);
    return Int32Array.from(rows, ({ seen, uniform }, b) =>
      chooseToken(row(b), seen, sampling, uniform),
    );
  }
  const chosen = runKernel(SAMPLE, { inputs: { logits }, attrs: { sampling, rows } });
  const ids = chosen.dataSync<'int32'>() as Int32Array;
  chosen.dispose();
  if (ids.includes(-1)) throw noFiniteLogits();
  return ids;
}
