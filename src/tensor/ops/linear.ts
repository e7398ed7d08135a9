import { roundedOperands } from '../rounded-operands.js';
import * as tf from '../tfjs.js';
import { Weight } from '../weight.js';
import { asMatrix, expectLastAxis, expectShape, fused, hasKernel, runKernel } from './fused.js';
import { fusedHeld, type Held, hold } from './held.js';

/** Kernel of `linear` with a frozen weight: inputs x, bias?; attributes weight, held? where it does not compute in float32. */
export const LINEAR = 'LlmkitLinear';
/** Kernel of `linear` with a trainable weight: inputs x, weight, bias?. */
export const LINEAR_DENSE = 'LlmkitLinearDense';
/** dx = dy · weight, the weight as input or as attribute. */
export const LINEAR_GRAD_INPUT = 'LlmkitLinearGradInput';

/**
 * A linear layer: y = x · Wᵀ + bias. A frozen `Weight` gets no gradient; a tensor does.
 *
 * @param x [..., cols]
 * @param weight [rows, cols]
 * @param bias [rows]
 * @returns [..., rows]
 * @throws LlmkitError `shape`
 */
export function linear(
  x: tf.Tensor,
  weight: Weight | tf.Tensor2D,
  bias?: tf.Tensor1D,
  held?: Held,
): tf.Tensor {
  const [rows, cols] = matrixShape(weight);
  expectLastAxis('linear: x', x, cols);
  if (bias !== undefined) expectShape('linear: bias', bias.shape, [rows]);
  const biasInput = bias === undefined ? {} : { bias };
  if (weight instanceof Weight) {
    const call = { inputs: { x, ...biasInput }, attrs: { weight } };
    const composition = () => addBias(frozenMatMul(x, weight), bias);
    return holds(weight, held)
      ? fusedHeld(LINEAR, call, composition, held)
      : hold(fused(LINEAR, call, composition), held);
  }
  const call = { inputs: { x, weight, ...biasInput } };
  return hold(
    fused(LINEAR_DENSE, call, () => addBias(denseMatMul(x, weight), bias)),
    held,
  );
}

/** Whether kernels of products with a weight write their result as it is held. */
export function holds(weight: Weight, held: Held): boolean {
  return held === undefined || weight.compute !== 'f32';
}

/** [rows, cols] of a frozen or trainable matrix. */
export function matrixShape(weight: Weight | tf.Tensor2D): readonly [rows: number, cols: number] {
  return weight instanceof Weight ? [weight.rows, weight.cols] : weight.shape;
}

function denseMatMul(x: tf.Tensor, weight: tf.Tensor2D): tf.Tensor {
  const y = tf.matMul(asMatrix(x), weight, false, true);
  return tf.reshape(y, [...x.shape.slice(0, -1), weight.shape[0]]);
}

/**
 * In the weight's compute type. Dequantizes for the call and again for its gradient, so that the float32
 * values are never kept.
 */
function frozenMatMul(x: tf.Tensor, weight: Weight): tf.Tensor {
  const operands = roundedOperands(weight);
  const product = tf.customGrad((input) => ({
    value: tf.tidy(() => {
      const rounded = rounding(input as tf.Tensor, operands.input);
      return denseMatMul(rounded, tf.tensor2d(operands.weight(), [weight.rows, weight.cols]));
    }),
    gradFunc: (dy) =>
      tf.tidy(() => tf.reshape(frozenGradInput(asMatrix(dy as tf.Tensor), weight), x.shape)),
  }));
  return product(x);
}

/** dx [M, cols] = dy [M, rows] · weight, in the weight's compute type. */
export function frozenGradInput(dy: tf.Tensor2D, weight: Weight): tf.Tensor2D {
  if (hasKernel(LINEAR_GRAD_INPUT)) {
    return runKernel<tf.Tensor2D>(LINEAR_GRAD_INPUT, { inputs: { dy }, attrs: { weight } });
  }
  const { gradient, gradientWeight } = roundedOperands(weight);
  const values = tf.tensor2d(gradientWeight(), [weight.rows, weight.cols]);
  return tf.matMul(rounding(dy, gradient), values);
}

function rounding<T extends tf.Tensor>(x: T, round: (values: Float32Array) => Float32Array): T {
  const values = x.dataSync() as Float32Array;
  const rounded = round(values);
  return rounded === values ? x : (tf.tensor(rounded, x.shape) as T);
}

function addBias(y: tf.Tensor, bias: tf.Tensor1D | undefined): tf.Tensor {
  return bias === undefined ? y : tf.add(y, bias);
}

/** Gradient of `linear` with a frozen weight. */
export const linearGradient: tf.GradConfig = {
  kernelName: LINEAR,
  gradFunc: (dy, _saved, attrs) => ({
    x: () => runKernel(LINEAR_GRAD_INPUT, { inputs: { dy: dy as tf.Tensor }, attrs }),
    bias: () => tf.sum(asMatrix(dy as tf.Tensor), 0),
  }),
};

/** Gradient of `linear` with a trainable weight. */
export const linearDenseGradient: tf.GradConfig = {
  kernelName: LINEAR_DENSE,
  inputsToSave: ['x', 'weight'],
  gradFunc: (dy, saved) => {
    const [x, weight] = saved as [tf.Tensor, tf.Tensor2D];
    const rows = () => asMatrix(dy as tf.Tensor);
    return {
      x: () => runKernel(LINEAR_GRAD_INPUT, { inputs: { dy: dy as tf.Tensor, weight } }),
      weight: () => tf.matMul(rows(), asMatrix(x), true, false),
      bias: () => tf.sum(rows(), 0),
    };
  },
};
