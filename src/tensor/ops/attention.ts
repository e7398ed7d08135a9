import { LlmkitError } from '../../errors.js';
import type { Compute } from '../compute.js';
import * as tf from '../tfjs.js';
import { expectShape, hasKernel, runKernel } from './fused.js';
import { type Held, hold, runHeld } from './held.js';

/** Kernel of `attention`: inputs q, k, v, first, last; attributes the other options, held? of y; outputs y and logSumExp [B, T, H]. */
export const ATTENTION = 'LlmkitAttention';
/** Inputs q, k, v, first, last, y, logSumExp, dy; outputs dq, dk, dv. */
export const ATTENTION_GRAD = 'LlmkitAttentionGrad';

/** What each query sees, and how scores are made. */
export interface AttentionOptions {
  /** int32 [B, T]: the first key that the query sees. */
  readonly first: tf.Tensor2D;
  /** int32 [B, T]: the last key that it sees; last < first sees none and gives zeros. */
  readonly last: tf.Tensor2D;
  readonly scale: number;
  /** Scores become softcap · tanh(score / softcap). */
  readonly softcap?: number;
  /** One slope per head: slope · (key − last) is added to the scores. */
  readonly alibiSlopes?: readonly number[];
  /** What products may be rounded to where a device has units for it; by default they are exact to float32. */
  readonly compute?: Compute | undefined;
  /** The result need not have the bits of `cachedAttention`: the CPU's units for `compute` may serve as well. */
  readonly training?: boolean | undefined;
  /** Of the result. */
  readonly held?: Held;
}

/**
 * Attention of each query to the keys first..last. Causal masks, windows, packed segments, padding
 * and caches are all ranges. Head h reads key/value head ⌊h · K / H⌋.
 *
 * @param q [B, T, H, E]
 * @param k [B, S, K, E]
 * @param v [B, S, K, E]
 * @returns [B, T, H, E]
 * @throws LlmkitError `shape`
 */
export function attention(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  options: AttentionOptions,
): tf.Tensor4D {
  checkShapes(q, k, v, options);
  if (!hasKernel(ATTENTION)) {
    return hold(
      tf.tidy(() => compose(q, k, v, options)),
      options.held,
    );
  }
  const { first, last, held, ...attrs } = options;
  const inputs = { q, k, v, first, last };
  const made = runHeld(ATTENTION, { inputs, attrs }, held);
  const [y, logSumExp] = made as [tf.Tensor4D, tf.Tensor];
  logSumExp.dispose();
  return y;
}

function checkShapes(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  { first, last, alibiSlopes }: AttentionOptions,
): void {
  const [B, T, H, E] = q.shape;
  const K = k.shape[2];
  expectShape('attention: k', k.shape, [B, -1, -1, E]);
  expectShape('attention: v', v.shape, k.shape);
  expectShape('attention: first', first.shape, [B, T]);
  expectShape('attention: last', last.shape, [B, T]);
  if (H % K !== 0 || (alibiSlopes !== undefined && alibiSlopes.length !== H)) {
    throw new LlmkitError(
      'shape',
      `attention: ${H} heads must be a multiple of the ${K} key/value heads, with a slope each`,
    );
  }
}

function compose(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  options: AttentionOptions,
): tf.Tensor4D {
  const [B, T, H, E] = q.shape;
  const [, S, K] = k.shape;
  // Query heads that share a key/value head become rows of one product: no repeated keys.
  const queries = tf.reshape(tf.transpose(q, [0, 2, 1, 3]), [B, K, (H / K) * T, E]);
  const keys = tf.transpose(k, [0, 2, 1, 3]);
  const values = tf.transpose(v, [0, 2, 1, 3]);
  const scores = tf.reshape(tf.matMul(queries, keys, false, true), [B, H, T, S]) as tf.Tensor4D;
  const weights = softmaxOfVisible(adjustScores(scores, options), options);
  const mixed = tf.matMul(tf.reshape(weights, [B, K, (H / K) * T, S]), values);
  return tf.transpose(tf.reshape(mixed, [B, H, T, E]) as tf.Tensor4D, [0, 2, 1, 3]);
}

function adjustScores(
  scores: tf.Tensor4D,
  { scale, softcap, alibiSlopes, last }: AttentionOptions,
): tf.Tensor4D {
  const [, H, , S] = scores.shape;
  let adjusted = tf.mul(scores, scale) as tf.Tensor4D;
  if (softcap !== undefined) adjusted = tf.mul(tf.tanh(tf.div(adjusted, softcap)), softcap);
  if (alibiSlopes === undefined) return adjusted;
  const distance = tf.sub(tf.range(0, S), tf.expandDims(tf.cast(last, 'float32'), -1));
  const slopes = tf.tensor4d([...alibiSlopes], [1, H, 1, 1]);
  return tf.add(adjusted, tf.mul(slopes, tf.expandDims(distance, 1)));
}

function softmaxOfVisible(scores: tf.Tensor4D, { first, last }: AttentionOptions): tf.Tensor4D {
  const keys = tf.range(0, scores.shape[3], 1, 'int32');
  const reached = tf.greaterEqual(keys, tf.expandDims(first, -1));
  const visible = tf.logicalAnd(reached, tf.lessEqual(keys, tf.expandDims(last, -1)));
  // Repeated for each head here: tfjs's CPU backend is slow where it repeats a middle axis itself.
  const mask = tf.tile(tf.cast(tf.expandDims(visible, 1), 'float32'), [1, scores.shape[1], 1, 1]);
  // A finite number, so that a query that sees nothing has no NaN; the mask then makes it zero.
  const hidden = tf.mul(tf.sub(1, mask), -1e30);
  return tf.mul(tf.softmax(tf.add(tf.mul(scores, mask), hidden) as tf.Tensor4D), mask);
}

/** Gradient of `attention`. */
export const attentionGradient: tf.GradConfig = {
  kernelName: ATTENTION,
  inputsToSave: ['q', 'k', 'v', 'first', 'last'],
  outputsToSave: [true, true],
  gradFunc: (dys, saved, attrs) => {
    const [q, k, v, first, last, y, logSumExp] = saved as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    const [dy] = dys as [tf.Tensor];
    const inputs = { q, k, v, first, last, y, logSumExp, dy };
    const [dq, dk, dv] = runKernel<tf.Tensor[]>(ATTENTION_GRAD, { inputs, attrs }) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    return { q: () => dq, k: () => dk, v: () => dv };
  },
};
