import { ADAMW, type AdamWHyper } from '../../ops/adamw.js';
import { CROSS_ENTROPY, CROSS_ENTROPY_GRAD } from '../../ops/cross-entropy.js';
import type { TensorInfo } from '../../tfjs.js';
import { matrixOf, optional } from './blocks.js';
import type { KernelTable, NativeKernel } from './kernel.js';

const crossEntropy: NativeKernel = (params, native) => {
  const { h, targets } = params.inputs as Record<'h' | 'targets', TensorInfo>;
  const { matrix, cols } = matrixOf(native, params);
  const bias = optional(native, params.inputs, 'bias');
  const ids = native.ints(targets);
  const losses = native.output([ids.length], ids.length);
  const logSumExp = native.output([ids.length], ids.length);
  const values = native.floats(h);
  native.addon.crossEntropy(values, matrix, bias, ids, losses.values, logSumExp.values, cols);
  return [losses.info, logSumExp.info];
};

const crossEntropyGrad: NativeKernel = (params, native) => {
  const { h, targets, logSumExp, dy } = params.inputs as Record<
    'h' | 'targets' | 'logSumExp' | 'dy',
    TensorInfo
  >;
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
  );
  return [dh, dweight, dbias].flatMap((gradient) => gradient?.info ?? []);
};

const adamw: NativeKernel = ({ inputs, attrs }, native) => {
  const { parameter, gradient, m, v } = inputs as Record<
    'parameter' | 'gradient' | 'm' | 'v',
    TensorInfo
  >;
  const { step, learningRate, beta1, beta2, eps, weightDecay, gradientScale } = attrs as AdamWHyper;
  native.addon.adamw(
    native.floats(parameter),
    native.floats(gradient),
    native.floats(m),
    native.floats(v),
    step,
    learningRate,
    beta1,
    beta2,
    eps,
    weightDecay,
    gradientScale ?? 1,
  );
  return [];
};

/** The loss and the optimizer. */
export const trainingKernels: KernelTable = {
  [ADAMW]: adamw,
  [CROSS_ENTROPY]: crossEntropy,
  [CROSS_ENTROPY_GRAD]: crossEntropyGrad,
};
