import * as tf from '../tfjs.js';
import { expectLastAxis, runKernel } from './fused.js';
import { fusedHeld, type Held } from './held.js';
import { cheap } from './recipe.js';

/** Kernel of `rmsNorm`: inputs x, weight; attributes eps, held?. */
export const RMS_NORM = 'LlmkitRmsNorm';
/** Inputs x, weight, dy; attributes eps, wanted ('x' or 'weight'). */
export const RMS_NORM_GRAD = 'LlmkitRmsNormGrad';

/**
 * Root mean square normalisation: y = x / √(mean(x²) + eps) · weight.
 *
 * @param x [..., D]
 * @param weight [D]
 * @returns [..., D]
 * @throws LlmkitError `shape` when the last axis of x is not D
 * @see https://arxiv.org/abs/1910.07467
 */
export function rmsNorm(x: tf.Tensor, weight: tf.Tensor1D, eps: number, held?: Held): tf.Tensor {
  expectLastAxis('rmsNorm: x', x, weight.size);
  const composition = () => {
    const meanSquare = tf.mean(tf.square(x), -1, true);
    return tf.mul(tf.mul(x, tf.rsqrt(tf.add(meanSquare, eps))), weight);
  };
  const call = { inputs: { x, weight }, attrs: { eps } };
  const y = fusedHeld(RMS_NORM, call, composition, held);
  return cheap(y, [x, weight], ([x, weight]) =>
    rmsNorm(x as tf.Tensor, weight as tf.Tensor1D, eps, held),
  );
}

/** Gradient of `rmsNorm`. */
export const rmsNormGradient: tf.GradConfig = {
  kernelName: RMS_NORM,
  inputsToSave: ['x', 'weight'],
  gradFunc: (dy, saved, attrs) => {
    const [x, weight] = saved as [tf.Tensor, tf.Tensor];
    const gradient = (wanted: string) => () =>
      runKernel(RMS_NORM_GRAD, {
        inputs: { x, weight, dy: dy as tf.Tensor },
        attrs: { ...attrs, wanted },
      });
    return { x: gradient('x'), weight: gradient('weight') };
  },
};
