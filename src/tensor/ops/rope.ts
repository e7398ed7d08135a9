import { LlmkitError } from '../../errors.js';
import * as tf from '../tfjs.js';
import { expectShape, runKernel } from './fused.js';
import { fusedHeld, type Held } from './held.js';

/** Kernel of `rope`: inputs x, cos, sin; attributes inverse, held?. */
export const ROPE = 'LlmkitRope';

/**
 * Rotary position encoding, rotate-half as Hugging Face does it: dimension i is paired with i + R/2.
 *
 * @param x [B, T, H, E]; its first R dimensions turn, the others stay
 * @param cos [B, T, R/2], no gradient
 * @param sin [B, T, R/2], no gradient
 * @returns [B, T, H, E]
 * @throws LlmkitError `shape`
 * @see https://arxiv.org/abs/2104.09864
 */
export function rope(x: tf.Tensor4D, cos: tf.Tensor3D, sin: tf.Tensor3D, held?: Held): tf.Tensor4D {
  const [B, T, , E] = x.shape;
  const half = cos.shape[2];
  expectShape('rope: cos', cos.shape, [B, T, -1]);
  expectShape('rope: sin', sin.shape, cos.shape);
  if (2 * half > E) {
    throw new LlmkitError('shape', `rope: cos must be at most ${E / 2} wide, got ${half}`);
  }
  const call = { inputs: { x, cos, sin }, attrs: { inverse: false } };
  const composition = () => rotate(x, tf.expandDims(cos, 2), tf.expandDims(sin, 2));
  return fusedHeld(ROPE, call, composition, held);
}

function rotate(x: tf.Tensor4D, cos: tf.Tensor4D, sin: tf.Tensor4D): tf.Tensor4D {
  const half = cos.shape[3];
  const [a, b, rest] = tf.split(x, [half, half, x.shape[3] - 2 * half], 3) as [
    tf.Tensor4D,
    tf.Tensor4D,
    tf.Tensor4D,
  ];
  const turned = [tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin))];
  return tf.concat(rest.size === 0 ? turned : [...turned, rest], 3) as tf.Tensor4D;
}

/** Gradient of `rope`: the turn backwards. */
export const ropeGradient: tf.GradConfig = {
  kernelName: ROPE,
  inputsToSave: ['cos', 'sin'],
  gradFunc: (dy, saved, attrs) => {
    const [cos, sin] = saved as [tf.Tensor, tf.Tensor];
    const inverse = !(attrs as { inverse: boolean }).inverse;
    return {
      x: () => runKernel(ROPE, { inputs: { x: dy as tf.Tensor, cos, sin }, attrs: { inverse } }),
    };
  },
};
