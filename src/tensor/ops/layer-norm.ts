import * as tf from '../tfjs.js';
import { asMatrix, expectLastAxis, expectShape, runKernel } from './fused.js';
import { fusedHeld, type Held } from './held.js';
import { cheap } from './recipe.js';

/** Kernel of `layerNorm`: inputs x, weight, bias?; attributes eps, held?. */
export const LAYER_NORM = 'LlmkitLayerNorm';
/** Inputs x, weight, dy; attributes eps, wanted ('x' or 'weight'). */
export const LAYER_NORM_GRAD = 'LlmkitLayerNormGrad';

/** What a layer normalisation is made with. */
export interface LayerNormOptions {
  /** [D] */
  readonly weight: tf.Tensor1D;
  /** [D] */
  readonly bias?: tf.Tensor1D | undefined;
  readonly eps: number;
  readonly held?: Held;
}

/**
 * Layer normalisation: y = (x − mean) / √(variance + eps) · weight + bias.
 *
 * @param x [..., D]
 * @returns [..., D]
 * @throws LlmkitError `shape` when the last axis of x is not D
 * @see https://arxiv.org/abs/1607.06450
 */
export function layerNorm(x: tf.Tensor, { weight, bias, eps, held }: LayerNormOptions): tf.Tensor {
  expectLastAxis('layerNorm: x', x, weight.size);
  if (bias !== undefined) expectShape('layerNorm: bias', bias.shape, weight.shape);
  const inputs = bias === undefined ? { x, weight } : { x, weight, bias };
  const composition = () => {
    const centred = tf.sub(x, tf.mean(x, -1, true));
    const variance = tf.mean(tf.square(centred), -1, true);
    const y = tf.mul(tf.mul(centred, tf.rsqrt(tf.add(variance, eps))), weight);
    return bias === undefined ? y : tf.add(y, bias);
  };
  const y = fusedHeld(LAYER_NORM, { inputs, attrs: { eps } }, composition, held);
  return cheap(y, Object.values(inputs), ([x, weight, bias]) => {
    const again = { weight: weight as tf.Tensor1D, bias: bias as tf.Tensor1D | undefined };
    return layerNorm(x as tf.Tensor, { ...again, eps, held });
  });
}

/** Gradient of `layerNorm`. */
export const layerNormGradient: tf.GradConfig = {
  kernelName: LAYER_NORM,
  inputsToSave: ['x', 'weight'],
  gradFunc: (dy, saved, attrs) => {
    const [x, weight] = saved as [tf.Tensor, tf.Tensor];
    const gradient = (wanted: string) => () =>
      runKernel(LAYER_NORM_GRAD, {
        inputs: { x, weight, dy: dy as tf.Tensor },
        attrs: { ...attrs, wanted },
      });
    return {
      x: gradient('x'),
      weight: gradient('weight'),
      bias: () => tf.sum(asMatrix(dy as tf.Tensor), 0),
    };
  },
};
