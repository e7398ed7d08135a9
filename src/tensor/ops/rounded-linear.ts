import { roundToBf16 } from '../rounded-operands.js';
import * as tf from '../tfjs.js';
import { asMatrix, expectLastAxis, expectShape, hasKernel, runKernel } from './fused.js';
import { fusedHeld, type Held } from './held.js';

/** Inputs x, weight, bias?; attribute held?; output y. */
export const ROUNDED_LINEAR = 'LlmkitRoundedLinear';
/** Inputs dy, weight; output dx. */
export const ROUNDED_LINEAR_GRAD_INPUT = 'LlmkitRoundedLinearGradInput';
/** Inputs dy, x; output dweight. */
export const ROUNDED_LINEAR_GRAD_WEIGHT = 'LlmkitRoundedLinearGradWeight';

/**
 * `linear` with a trainable float32 weight, in bf16: the operands of the product and of those in its
 * gradient are rounded to bf16 for the call, sums and results are float32.
 *
 * @param x [..., cols]
 * @param weight [rows, cols]
 * @param bias [rows]
 * @returns [..., rows]
 * @throws LlmkitError `shape`
 */
export function roundedLinear(
  x: tf.Tensor,
  weight: tf.Tensor2D,
  bias?: tf.Tensor1D,
  held?: Held,
): tf.Tensor {
  const [rows, cols] = weight.shape;
  expectLastAxis('roundedLinear: x', x, cols);
  if (bias !== undefined) expectShape('roundedLinear: bias', bias.shape, [rows]);
  const composition = () => {
    const y = roundedProduct(x, weight);
    return bias === undefined ? y : tf.add(y, bias);
  };
  const call = { inputs: { x, weight, ...(bias && { bias }) } };
  return fusedHeld(ROUNDED_LINEAR, call, composition, held);
}

function roundedProduct(x: tf.Tensor, weight: tf.Tensor2D): tf.Tensor {
  const product = tf.customGrad((...args) => {
    const [input, matrix, save] = args as [tf.Tensor, tf.Tensor2D, tf.GradSaveFunc];
    save([input, matrix]);
    const value = tf.tidy(() => {
      const y = tf.matMul(roundToBf16(asMatrix(input)), roundToBf16(matrix), false, true);
      return tf.reshape(y, [...x.shape.slice(0, -1), weight.shape[0]]);
    });
    const gradFunc = (dy: tf.Tensor | tf.Tensor[], saved: tf.Tensor[]) => {
      const [x, weight] = saved as [tf.Tensor, tf.Tensor2D];
      return [gradInput(dy as tf.Tensor, weight), gradWeight(dy as tf.Tensor, x)];
    };
    return { value, gradFunc };
  });
  return product(x, weight);
}

/** dx [..., cols] = dy [..., rows] · weight */
function gradInput(dy: tf.Tensor, weight: tf.Tensor2D): tf.Tensor {
  if (hasKernel(ROUNDED_LINEAR_GRAD_INPUT)) {
    return runKernel(ROUNDED_LINEAR_GRAD_INPUT, { inputs: { dy, weight } });
  }
  return tf.tidy(() => {
    const dx = tf.matMul(roundToBf16(asMatrix(dy)), roundToBf16(weight));
    return tf.reshape(dx, [...dy.shape.slice(0, -1), weight.shape[1]]);
  });
}

/** dweight [rows, cols] = dyᵀ · x */
function gradWeight(dy: tf.Tensor, x: tf.Tensor): tf.Tensor {
  if (hasKernel(ROUNDED_LINEAR_GRAD_WEIGHT)) {
    return runKernel(ROUNDED_LINEAR_GRAD_WEIGHT, { inputs: { dy, x } });
  }
  return tf.tidy(() => tf.matMul(roundToBf16(asMatrix(dy)), roundToBf16(asMatrix(x)), true));
}

/** Gradient of `roundedLinear`. */
export const roundedLinearGradient: tf.GradConfig = {
  kernelName: ROUNDED_LINEAR,
  inputsToSave: ['x', 'weight'],
  gradFunc: (dy, saved) => {
    const [x, weight] = saved as [tf.Tensor, tf.Tensor2D];
    return {
      x: () => gradInput(dy as tf.Tensor, weight),
      weight: () => gradWeight(dy as tf.Tensor, x),
      bias: () => tf.sum(asMatrix(dy as tf.Tensor), 0),
    };
  },
};
