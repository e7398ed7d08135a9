import { LlmkitError } from '../../errors.js';
import * as tf from '../tfjs.js';
import { asMatrix, expectShape, fused, runKernel } from './fused.js';
import { cheap } from './recipe.js';

/** Kernel of `dropout`: inputs x, keys; attributes rate, seed, stream. */
export const DROPOUT = 'LlmkitDropout';

/** What the mask depends on, with the column: nothing else. */
export interface DropoutOptions {
  /** Probability of a zero, 0 ≤ rate < 1. */
  readonly rate: number;
  readonly seed: number;
  /** Tells apart the places of a model that drop. */
  readonly stream: number;
  /** int32 [rows, 2]: example and position of each row. */
  readonly keys: tf.Tensor2D;
}

/**
 * Inverted dropout: zero with probability rate, else x / (1 − rate). The mask is a hash of (seed,
 * stream, keys[row], column): the same on every backend, whatever the batch.
 *
 * @param x [..., D], of as many rows as keys
 * @throws LlmkitError `shape`, `usage` when the rate is not in [0, 1)
 */
export function dropout(x: tf.Tensor, options: DropoutOptions): tf.Tensor {
  const { keys, ...attrs } = options;
  if (!(attrs.rate >= 0 && attrs.rate < 1)) {
    throw new LlmkitError(
      'usage',
      `dropout: rate must be at least 0 and below 1, got ${attrs.rate}`,
    );
  }
  const cols = x.shape[x.rank - 1] ?? 1;
  expectShape('dropout: keys', keys.shape, [x.size / cols, 2]);
  const y = fused(DROPOUT, { inputs: { x, keys }, attrs }, () => {
    const scaled = tf.mul(asMatrix(x), 1 / (1 - attrs.rate));
    const kept = tf.where(keptElements(options, cols), scaled, tf.zerosLike(scaled));
    return tf.reshape(kept, x.shape);
  });
  return cheap(y, [x, keys], ([x, keys]) =>
    dropout(x as tf.Tensor, { ...attrs, keys: keys as tf.Tensor2D }),
  );
}

/** [rows, cols]: whether an element is kept. */
function keptElements({ rate, seed, stream, keys }: DropoutOptions, cols: number): tf.Tensor2D {
  const ids = keys.dataSync();
  const rows = keys.shape[0];
  const threshold = Math.floor(rate * 2 ** 24 + 0.5);
  const mask = new Uint8Array(rows * cols);
  const start = mix(seed) + stream;
  for (let row = 0; row < rows; row++) {
    const key = mix(mix(mix(start) + (ids[2 * row] ?? 0)) + (ids[2 * row + 1] ?? 0));
    for (let col = 0; col < cols; col++) {
      const draw = mix(key + Math.imul(col, 0x9e3779b9)) >>> 8;
      mask[row * cols + col] = draw < threshold ? 0 : 1;
    }
  }
  return tf.tensor2d(mask, [rows, cols], 'bool');
}

/** A bijection of 32-bit integers that spreads every bit over all. */
function mix(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Gradient of `dropout`: the same mask. */
export const dropoutGradient: tf.GradConfig = {
  kernelName: DROPOUT,
  inputsToSave: ['keys'],
  gradFunc: (dy, saved, attrs) => ({
    x: () => {
      const inputs = { x: dy as tf.Tensor, keys: saved[0] as tf.Tensor };
      return runKernel(DROPOUT, { inputs, attrs });
    },
  }),
};
