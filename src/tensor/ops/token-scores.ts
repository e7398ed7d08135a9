import * as tf from '../tfjs.js';
import { checkTargets, type Head, kernelCall, logitsOf } from './cross-entropy.js';
import { expectShape, hasKernel, runKernel } from './fused.js';
import { matrixShape } from './linear.js';

/** Inputs h, targets, weight?, bias?; attributes weight?, rounded; outputs losses [M] and greedy int32 [M]. */
export const TOKEN_SCORES = 'LlmkitTokenScores';

/** How probable the targets are. A type, so that `tidy` takes it for a container. */
export type TokenScores = {
  /** -log p(target) [M]. */
  readonly losses: tf.Tensor1D;
  /** int32 [M]: 1 where the target is the first of the most probable words, else 0. */
  readonly greedy: tf.Tensor1D;
};

/** Whether the backend scores without holding logits [M, V]. */
export function hasTokenScores(): boolean {
  return hasKernel(TOKEN_SCORES);
}

/**
 * Scores of the targets, all in 0..V-1, by the softmax of h · Wᵀ + bias. Without a gradient.
 *
 * @throws LlmkitError `shape`
 */
export function tokenScores(head: Head): TokenScores {
  const { h, weight, bias, targets } = head;
  const [V, D] = matrixShape(weight);
  expectShape('tokenScores: h', h.shape, [-1, D]);
  expectShape('tokenScores: targets', targets.shape, [h.shape[0]]);
  if (bias !== undefined) expectShape('tokenScores: bias', bias.shape, [V]);
  checkTargets('tokenScores', targets, [0, V]);
  if (!hasTokenScores()) {
    return tf.tidy(() => scoresOfLogits(logitsOf(head) as tf.Tensor2D, targets));
  }
  const [losses, greedy] = runKernel<tf.Tensor[]>(TOKEN_SCORES, kernelCall(head));
  return { losses, greedy } as TokenScores;
}

/** The same from the logits [M, V]. */
export function scoresOfLogits(logits: tf.Tensor2D, targets: tf.Tensor1D): TokenScores {
  return tf.tidy(() => {
    const [M, V] = logits.shape;
    const places = tf.add(tf.mul(tf.range(0, M, 1, 'int32'), tf.scalar(V, 'int32')), targets);
    const chosen = tf.gather(tf.reshape(logits, [-1]), places as tf.Tensor1D);
    return {
      losses: tf.sub(tf.logSumExp(logits, 1), chosen) as tf.Tensor1D,
      greedy: tf.cast(tf.equal(tf.argMax(logits, 1), targets), 'int32') as tf.Tensor1D,
    };
  });
}
