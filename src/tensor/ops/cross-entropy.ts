import { LlmkitError } from '../../errors.js';
import { roundToBf16 } from '../rounded-operands.js';
import * as tf from '../tfjs.js';
import { Weight } from '../weight.js';
import { expectShape, hasKernel, runKernel } from './fused.js';
import { frozenGradInput, linear, matrixShape } from './linear.js';
import { roundedLinear } from './rounded-linear.js';

/**
 * Inputs h, targets, weight?, bias?; attributes weight?, rounded, keeps; outputs losses [M] and logSumExp [M], and with
 * `keeps` what a backend may keep for the gradient.
 */
export const CROSS_ENTROPY = 'LlmkitCrossEntropy';
/** Inputs h, targets, logSumExp, dy, weight?, bias?, kept?; outputs dh, then dweight and dbias if given. */
export const CROSS_ENTROPY_GRAD = 'LlmkitCrossEntropyGrad';

/** The output projection that a loss is fused with, its input and its targets. */
export interface Head {
  readonly h: tf.Tensor2D;
  readonly weight: Weight | tf.Tensor2D;
  readonly bias: tf.Tensor1D | undefined;
  readonly targets: tf.Tensor1D;
  /** Products with a tensor are in bf16; a `Weight` has its own arithmetic. */
  readonly rounded: boolean;
}

/**
 * Cross-entropy fused with the output projection: −log softmax(h · Wᵀ + bias)[target] of each row.
 * The [M, V] logits are not kept for the gradient, unless they are small and a backend does. A frozen `Weight` gets
 * none; a tensor does.
 *
 * @param h [M, D]
 * @param weight [V, D]
 * @param targets int32 [M]; −1 gives loss 0 and no gradient
 * @param bias [V]
 * @param rounded whether products with a tensor are in bf16, as those of `roundedLinear`
 * @returns [M]
 * @throws LlmkitError `shape`
 */
export function crossEntropy(
  h: tf.Tensor2D,
  weight: Weight | tf.Tensor2D,
  targets: tf.Tensor1D,
  bias?: tf.Tensor1D,
  rounded = false,
): tf.Tensor1D {
  const [V, D] = matrixShape(weight);
  expectShape('crossEntropy: h', h.shape, [-1, D]);
  expectShape('crossEntropy: targets', targets.shape, [h.shape[0]]);
  if (bias !== undefined) expectShape('crossEntropy: bias', bias.shape, [V]);
  checkTargets('crossEntropy', targets, [-1, V]);
  const inputs = [h, ...(weight instanceof Weight ? [] : [weight]), ...(bias ? [bias] : [])];
  const keeps = tf.engine().isTapeOn();
  const lossOf = tf.customGrad((...args) => {
    const save = args[inputs.length] as tf.GradSaveFunc;
    const [losses, ...sums] = lossesOf({ h, weight, bias, targets, rounded }, keeps);
    save([...inputs, targets, ...sums]);
    const gradFunc = (dy: tf.Tensor | tf.Tensor[], saved: tf.Tensor[]) => {
      const [targets, logSumExp, kept] = saved.slice(inputs.length) as tf.Tensor1D[];
      const head = { ...headOf(saved, weight, bias !== undefined), targets, rounded } as Head;
      const sums = { logSumExp: logSumExp as tf.Tensor1D, ...(kept && { kept }) };
      return gradientsOf(head, sums, dy as tf.Tensor1D);
    };
    return { value: losses, gradFunc };
  });
  return lossOf(...inputs) as tf.Tensor1D;
}

/** Throws LlmkitError `shape` unless targets are in [least, V). */
export function checkTargets(
  what: string,
  targets: tf.Tensor1D,
  [least, V]: readonly [number, number],
): void {
  const wrong = targets.dataSync().find((target) => target < least || target >= V);
  if (wrong === undefined) return;
  throw new LlmkitError('shape', `${what}: targets must be in ${least}..${V - 1}, got ${wrong}`);
}

/** The head's input and parameters again, of what was saved: h, weight?, bias?. */
function headOf(
  saved: tf.Tensor[],
  weight: Weight | tf.Tensor2D,
  hasBias: boolean,
): Pick<Head, 'h' | 'weight' | 'bias'> {
  const frozen = weight instanceof Weight;
  return {
    h: saved[0] as tf.Tensor2D,
    weight: frozen ? weight : (saved[1] as tf.Tensor2D),
    bias: hasBias ? (saved[frozen ? 1 : 2] as tf.Tensor1D) : undefined,
  };
}

/** What the gradient is made of: the logarithm of the softmax's denominator [M], and what was kept, if anything. */
interface Sums {
  readonly logSumExp: tf.Tensor1D;
  readonly kept?: tf.Tensor1D;
}

/** Losses [M] and the tensors of `Sums`. */
function lossesOf(head: Head, keeps: boolean): [losses: tf.Tensor1D, ...sums: tf.Tensor1D[]] {
  const { targets } = head;
  if (hasKernel(CROSS_ENTROPY)) {
    const { inputs, attrs } = kernelCall(head);
    const call = { inputs, attrs: { ...attrs, keeps } };
    return runKernel<tf.Tensor[]>(CROSS_ENTROPY, call) as [tf.Tensor1D, ...tf.Tensor1D[]];
  }
  const logits = logitsOf(head);
  const logSumExp = tf.logSumExp(logits, -1) as tf.Tensor1D;
  const picked = tf.sum(tf.mul(logits, oneHot(head)), -1) as tf.Tensor1D;
  return [tf.mul(tf.sub(logSumExp, picked), counted(targets)), logSumExp];
}

/** [M, V] */
export function logitsOf({ h, weight, bias, rounded }: Head): tf.Tensor {
  if (rounded && !(weight instanceof Weight)) return roundedLinear(h, weight, bias);
  return linear(h, weight, bias);
}

/** Gradients of h, of the weight if it is a tensor, of the bias if there is one. */
function gradientsOf(head: Head, sums: Sums, dy: tf.Tensor1D): tf.Tensor[] {
  const { h, weight, bias, targets, rounded } = head;
  if (hasKernel(CROSS_ENTROPY_GRAD)) {
    return runKernel<tf.Tensor[]>(CROSS_ENTROPY_GRAD, kernelCall(head, { ...sums, dy }));
  }
  const { logSumExp } = sums;
  return tf.tidy(() => {
    const softmax = tf.exp(tf.sub(logitsOf(head), tf.expandDims(logSumExp, 1)));
    const scale = tf.expandDims(tf.mul(dy, counted(targets)), 1);
    const dlogits = tf.mul(tf.sub(softmax, oneHot(head)), scale) as tf.Tensor2D;
    const dbias = bias === undefined ? [] : [tf.sum(dlogits, 0)];
    if (weight instanceof Weight) return [frozenGradInput(dlogits, weight), ...dbias];
    const operand = rounded ? roundToBf16 : <T>(x: T) => x;
    const factor = operand(dlogits);
    return [tf.matMul(factor, operand(weight)), tf.matMul(factor, operand(h), true), ...dbias];
  });
}

/** What the kernels of a loss are called with. */
export function kernelCall(
  { h, weight, bias, targets, rounded }: Head,
  more: tf.NamedTensorMap = {},
) {
  const inputs: tf.NamedTensorMap = { h, targets, ...more };
  if (bias !== undefined) inputs.bias = bias;
  if (weight instanceof Weight) return { inputs, attrs: { weight } };
  return { inputs: { ...inputs, weight }, attrs: { rounded } };
}

/** [M, V]; a row of zeros where the target is −1. */
function oneHot({ targets, weight }: Head): tf.Tensor {
  return tf.oneHot(targets, matrixShape(weight)[0], 1, 0, 'float32');
}

/** 1 where there is a target, 0 where it is −1. */
function counted(targets: tf.Tensor1D): tf.Tensor1D {
  return tf.cast(tf.greaterEqual(targets, tf.scalar(0, 'int32')), 'float32') as tf.Tensor1D;
}
