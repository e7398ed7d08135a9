import { ADAMW, type AdamWHyper } from '../../ops/adamw.js';
import { ADAMW_8BIT } from '../../ops/adamw-8bit.js';
import { CROSS_ENTROPY, CROSS_ENTROPY_GRAD } from '../../ops/cross-entropy.js';
import {
  ROUNDED_LINEAR,
  ROUNDED_LINEAR_GRAD_INPUT,
  ROUNDED_LINEAR_GRAD_WEIGHT,
} from '../../ops/rounded-linear.js';
import { TOKEN_SCORES } from '../../ops/token-scores.js';
import type { TensorInfo } from '../../tfjs.js';
import { heldOf, matrixOf, optional } from './blocks.js';
import {
  type HostKernel,
  type HostKernelTable,
  type KernelParams,
  type KernelTable,
  type NativeKernel,
  sizeOf,
} from './kernel.js';

/** Whether a trained weight's products are in bf16. */
function isRounded({ attrs }: KernelParams): boolean {
  return (attrs as { rounded?: boolean }).rounded === true;
}

const crossEntropy: NativeKernel = (params, native) => {
  const { h, targets } = params.inputs as Record<'h' | 'targets', TensorInfo>;
  const { matrix, cols } = matrixOf(native, params);
  const bias = optional(native, params.inputs, 'bias');
  const ids = native.ints(targets);
  const losses = native.output([ids.length], ids.length);
  const logSumExp = native.output([ids.length], ids.length);
  const rounded = isRounded(params);
  const { keeps } = params.attrs as { keeps?: boolean };
  const length = keeps ? native.keptOfLoss(matrix, ids.length, cols, rounded) : 0;
  const kept = length === 0 ? undefined : native.output([length], length);
  native.addon.crossEntropy(
    native.floats(h),
    matrix,
    bias,
    ids,
    losses.values,
    logSumExp.values,
    cols,
    rounded,
    kept?.values,
  );
  return [losses, logSumExp, kept].flatMap((made) => made?.info ?? []);
};

const tokenScores: HostKernel = (params, native) => {
  const { h, targets } = params.inputs as Record<'h' | 'targets', TensorInfo>;
  const { matrix, cols } = matrixOf(native, params);
  const bias = optional(native, params.inputs, 'bias');
  const ids = native.ints(targets);
  const losses = native.output([ids.length], ids.length);
  const greedy = native.intOutput([ids.length], ids.length);
  native.addon.tokenScores(
    native.floats(h),
    matrix,
    bias,
    ids,
    losses.values,
    greedy.values,
    cols,
    isRounded(params),
  );
  return [losses.info, greedy.info];
};

const crossEntropyGrad: NativeKernel = (params, native) => {
  const { h, targets, logSumExp, dy, kept } = params.inputs as Record<
    'h' | 'targets' | 'logSumExp' | 'dy',
    TensorInfo
  > & { kept?: TensorInfo };
  const { matrix, rows, cols } = matrixOf(native, params);
  const bias = optional(native, params.inputs, 'bias');
  const values = native.floats(h);
  const dh = native.output(h.shape, values.length);
  const trainable = params.inputs.weight !== undefined;
  const dweight = trainable ? native.output([rows, cols], rows * cols) : undefined;
  const dbias = bias === null ? undefined : native.output([rows], rows);
  native.addon.crossEntropyGrad(
    values,
    matrix,
    bias,
    native.ints(targets),
    native.floats(logSumExp),
    native.floats(dy),
    dh.values,
    dweight?.values ?? null,
    dbias?.values ?? null,
    cols,
    isRounded(params),
    kept && native.floats(kept),
  );
  return [dh, dweight, dbias].flatMap((gradient) => gradient?.info ?? []);
};

const adamw: NativeKernel = ({ inputs, attrs }, native) => {
  const { parameter, gradient, m, v } = inputs as Record<
    'parameter' | 'gradient' | 'm' | 'v',
    TensorInfo
  >;
  native.addon.adamw(
    native.changing(parameter),
    native.floats(gradient),
    native.changing(m),
    native.changing(v),
    ...hyperOf(attrs),
  );
  return [];
};

const adamw8bit: NativeKernel = ({ inputs, attrs }, native) => {
  const { parameter, gradient, m, v, mScales, vScales } = inputs as Record<string, TensorInfo>;
  native.addon.adamw8bit(
    native.changing(parameter as TensorInfo),
    native.floats(gradient as TensorInfo),
    native.changingInts(m as TensorInfo),
    native.changingInts(v as TensorInfo),
    native.changing(mScales as TensorInfo),
    native.changing(vScales as TensorInfo),
    ...hyperOf(attrs),
  );
  return [];
};

function hyperOf(attrs: object) {
  const { step, learningRate, beta1, beta2, eps, weightDecay, gradientScale } = attrs as AdamWHyper;
  return [step, learningRate, beta1, beta2, eps, weightDecay, gradientScale ?? 1] as const;
}

const roundedLinear: NativeKernel = ({ inputs, attrs }, native) => {
  const { x, weight } = inputs as Record<'x' | 'weight', TensorInfo>;
  const [rows, cols] = weight.shape as [number, number];
  const shape = [...x.shape.slice(0, -1), rows];
  const y = native.output(shape, sizeOf(shape), heldOf({ attrs }));
  const bias = optional(native, inputs, 'bias');
  native.addon.roundedLinear(native.elements(x), native.floats(weight), bias, y.values, cols);
  return y.info;
};

const roundedLinearGradInput: NativeKernel = ({ inputs }, native) => {
  const { dy, weight } = inputs as Record<'dy' | 'weight', TensorInfo>;
  const cols = weight.shape[1] as number;
  const shape = [...dy.shape.slice(0, -1), cols];
  const dx = native.output(shape, sizeOf(shape));
  native.addon.roundedLinearGradInput(native.floats(dy), native.floats(weight), dx.values, cols);
  return dx.info;
};

const roundedLinearGradWeight: NativeKernel = ({ inputs }, native) => {
  const { dy, x } = inputs as Record<'dy' | 'x', TensorInfo>;
  const [rows, cols] = [dy.shape.at(-1) as number, x.shape.at(-1) as number];
  const dweight = native.output([rows, cols], rows * cols);
  native.addon.roundedLinearGradWeight(native.floats(dy), native.elements(x), dweight.values, cols);
  return dweight.info;
};

/** The loss, trained weights in bf16 and the optimizer. */
export const trainingKernels: KernelTable = {
  [ADAMW]: adamw,
  [ADAMW_8BIT]: adamw8bit,
  [CROSS_ENTROPY]: crossEntropy,
  [CROSS_ENTROPY_GRAD]: crossEntropyGrad,
  [ROUNDED_LINEAR]: roundedLinear,
  [ROUNDED_LINEAR_GRAD_INPUT]: roundedLinearGradInput,
  [ROUNDED_LINEAR_GRAD_WEIGHT]: roundedLinearGradWeight,
};

/** Those of scoring. */
export const scoringKernels: HostKernelTable = { [TOKEN_SCORES]: tokenScores };
