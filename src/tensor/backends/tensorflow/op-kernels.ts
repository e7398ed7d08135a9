import type { LayerCache } from '../../layer-cache.js';
import { ACTIVATION_NAMES, type ActivationName } from '../../ops/activation.js';
import { ADAMW, type AdamWHyper } from '../../ops/adamw.js';
import { ATTENTION, ATTENTION_GRAD, type AttentionOptions } from '../../ops/attention.js';
import { CACHED_ATTENTION } from '../../ops/cached-attention.js';
import { CROSS_ENTROPY, CROSS_ENTROPY_GRAD } from '../../ops/cross-entropy.js';
import { DROPOUT, type DropoutOptions } from '../../ops/dropout.js';
import { EMBEDDING } from '../../ops/embedding.js';
import { GATED_MLP, GATED_MLP_GRAD } from '../../ops/gated-mlp.js';
import { HOLD } from '../../ops/held.js';
import { LAYER_NORM, LAYER_NORM_GRAD } from '../../ops/layer-norm.js';
import { LINEAR, LINEAR_GRAD_INPUT } from '../../ops/linear.js';
import { LORA_LINEAR, LORA_LINEAR_GRAD } from '../../ops/lora-linear.js';
import { MERGED_LINEAR } from '../../ops/merged-linear.js';
import { RMS_NORM, RMS_NORM_GRAD } from '../../ops/rms-norm.js';
import { ROPE } from '../../ops/rope.js';
import {
  ROUNDED_LINEAR,
  ROUNDED_LINEAR_GRAD_INPUT,
  ROUNDED_LINEAR_GRAD_WEIGHT,
} from '../../ops/rounded-linear.js';
import { SAMPLE } from '../../ops/sample.js';
import type { TensorInfo } from '../../tfjs.js';
import type { Weight } from '../../weight.js';
import { chosenIds } from '../native-kernels/sample.js';
import { doubleBits, type OpRunner } from './op-runner.js';

/** Inputs of a kernel by name; those that may be left out may be missing. */
type Inputs = Readonly<Record<string, TensorInfo | undefined>>;

/** One of llmkit's kernels: says which op to run with what. */
export type OpKernel = (ops: OpRunner, inputs: Inputs, attrs: object) => TensorInfo | TensorInfo[];

const linear: OpKernel = (ops, { x, bias }, attrs) =>
  ops.runOne(LINEAR, [x, bias], ops.weight(attrs));

const mergedLinear: OpKernel = (ops, inputs, attrs) => {
  const { weights } = attrs as { weights: readonly Weight[] };
  const biases = weights.map((_, i) => inputs[`bias${i}`]);
  const settings = [ops.weights(weights), ops.integer('N', weights.length)];
  return ops.run(MERGED_LINEAR, [inputs.x, ...biases], settings, weights.length);
};

const linearGradInput: OpKernel = (ops, { dy }, attrs) =>
  ops.runOne(LINEAR_GRAD_INPUT, [dy], ops.weight(attrs));

const loraLinear: OpKernel = (ops, { x, dropped, a, b, bias }, attrs) => {
  const { scale } = attrs as { scale: number };
  const settings = [...ops.weight(attrs), ops.real('scale', scale)];
  return ops.run(LORA_LINEAR, [x, dropped, a, b, bias], settings, 2);
};

const loraLinearGrad: OpKernel = (ops, { dy, dropped, low, a, b }, attrs) => {
  const { scale, whole } = attrs as { scale: number; whole: boolean };
  const settings = [...ops.weight(attrs), ops.real('scale', scale), ops.flag('whole', whole)];
  return ops.runFilled(LORA_LINEAR_GRAD, [dy, dropped, low, a, b], settings, 4);
};

const embedding: OpKernel = (ops, { ids }, attrs) => {
  const { weight } = attrs as { weight: Weight };
  return ops.runOne(EMBEDDING, [ids], ops.weight({ weight: weight.stored }));
};

const norm =
  (name: string): OpKernel =>
  (ops, { x, weight, bias }, attrs) =>
    ops.runOne(name, [x, weight, bias], [ops.real('eps', (attrs as { eps: number }).eps)]);

const normGrad =
  (name: string): OpKernel =>
  (ops, { x, weight, dy }, attrs) => {
    const { eps, wanted } = attrs as { eps: number; wanted: 'x' | 'weight' };
    const settings = [ops.real('eps', eps), ops.flag('of_weight', wanted === 'weight')];
    return ops.runOne(name, [x, weight, dy], settings);
  };

const rope: OpKernel = (ops, { x, cos, sin }, attrs) =>
  ops.runOne(ROPE, [x, cos, sin], [ops.flag('inverse', (attrs as { inverse: boolean }).inverse)]);

function attentionSettings(ops: OpRunner, attrs: object) {
  const {
    scale,
    softcap = 0,
    alibiSlopes = [],
    compute = 'f32',
  } = attrs as Omit<AttentionOptions, 'first' | 'last'>;
  return [
    ops.real('scale', scale),
    ops.real('softcap', softcap),
    ops.reals('slopes', alibiSlopes),
    ops.flag('rounded', compute !== 'f32'),
  ];
}

const attention: OpKernel = (ops, { q, k, v, first, last }, attrs) =>
  ops.run(ATTENTION, [q, k, v, first, last], attentionSettings(ops, attrs), 2);

const attentionGrad: OpKernel = (ops, { q, k, v, first, last, y, logSumExp, dy }, attrs) => {
  const inputs = [q, k, v, first, last, y, logSumExp, dy];
  return ops.run(ATTENTION_GRAD, inputs, attentionSettings(ops, attrs), 3);
};

const cachedAttention: OpKernel = (ops, { q, k, v, first, last, cos, sin }, attrs) => {
  const { cache, positions } = attrs as { cache: LayerCache; positions: Int32Array };
  const store = ops.store(cache);
  const settings = attentionSettings(ops, attrs);
  const y = ops.withInts(Int32Array.of(store.number, ...positions), (place) =>
    ops.runOne(CACHED_ATTENTION, [q, k, v, first, last, cos, sin, place], settings),
  );
  store.count();
  return y;
};

/** The activation by its place: the list is in the order of the kernels'. */
const activationOf = (ops: OpRunner, attrs: object) =>
  ops.integer('activation', ACTIVATION_NAMES.indexOf((attrs as { name: ActivationName }).name));

const gatedMlp: OpKernel = (ops, { gate, up }, attrs) =>
  ops.runOne(GATED_MLP, [gate, up], [activationOf(ops, attrs)]);

const gatedMlpGrad: OpKernel = (ops, { gate, up, dy }, attrs) =>
  ops.run(GATED_MLP_GRAD, [gate, up, dy], [activationOf(ops, attrs)], 2);

const hold: OpKernel = (ops, { x }) => ops.runOne(HOLD, [x], []);

const dropout: OpKernel = (ops, { x, keys }, attrs) => {
  const { rate, seed, stream } = attrs as Omit<DropoutOptions, 'keys'>;
  const settings = [
    ops.integers('rate', [...doubleBits([rate])]),
    ops.integer('seed', seed),
    ops.integer('stream', stream),
  ];
  return ops.runOne(DROPOUT, [x, keys], settings);
};

const roundedLinear: OpKernel = (ops, { x, weight, bias }) =>
  ops.runOne(ROUNDED_LINEAR, [x, weight, bias], []);

const roundedLinearGradInput: OpKernel = (ops, { dy, weight }) =>
  ops.runOne(ROUNDED_LINEAR_GRAD_INPUT, [dy, weight], []);

const roundedLinearGradWeight: OpKernel = (ops, { dy, x }) =>
  ops.runOne(ROUNDED_LINEAR_GRAD_WEIGHT, [dy, x], []);

/** The head's weight, and whether products with a trained one are in bf16. */
function headSettings(ops: OpRunner, attrs: object) {
  const { rounded = false } = attrs as { rounded?: boolean };
  return [...ops.weight(attrs), ops.flag('rounded', rounded)];
}

const crossEntropy: OpKernel = (ops, { h, targets, weight, bias }, attrs) =>
  ops.run(CROSS_ENTROPY, [h, targets, weight, bias], headSettings(ops, attrs), 2);

const crossEntropyGrad: OpKernel = (ops, inputs, attrs) => {
  const { h, targets, weight, bias, logSumExp, dy } = inputs;
  const all = [h, targets, weight, bias, logSumExp, dy];
  return ops.runFilled(CROSS_ENTROPY_GRAD, all, headSettings(ops, attrs), 3);
};

const adamw: OpKernel = (ops, { parameter, gradient, m, v }, attrs) => {
  const {
    step,
    learningRate,
    beta1,
    beta2,
    eps,
    weightDecay,
    gradientScale = 1,
  } = attrs as AdamWHyper;
  const hyper = [step, learningRate, beta1, beta2, eps, weightDecay, gradientScale];
  const next = ops.withInts(doubleBits(hyper), (bits) =>
    ops.run(ADAMW, [parameter, gradient, m, v, bits], [], 3),
  );
  ops.replace([parameter, m, v] as TensorInfo[], next);
  return [];
};

/** The logits come to the addon: what is made of them is a number per row. */
const sample: OpKernel = (ops, { logits }, attrs) =>
  ops.intsOf(logits as TensorInfo, (addon, values) =>
    chosenIds(addon, values, attrs as Parameters<typeof chosenIds>[2]),
  );

/** Kernels that are no ops of TensorFlow. */
export const hostKernels: Readonly<Record<string, OpKernel>> = { [SAMPLE]: sample };

/** The kernels by llmkit's names, which are those of the ops that run them. */
export const opKernels: Readonly<Record<string, OpKernel>> = {
  [ADAMW]: adamw,
  [ATTENTION]: attention,
  [ATTENTION_GRAD]: attentionGrad,
  [CACHED_ATTENTION]: cachedAttention,
  [CROSS_ENTROPY]: crossEntropy,
  [CROSS_ENTROPY_GRAD]: crossEntropyGrad,
  [DROPOUT]: dropout,
  [EMBEDDING]: embedding,
  [GATED_MLP]: gatedMlp,
  [GATED_MLP_GRAD]: gatedMlpGrad,
  [HOLD]: hold,
  [LAYER_NORM]: norm(LAYER_NORM),
  [LAYER_NORM_GRAD]: normGrad(LAYER_NORM_GRAD),
  [LINEAR]: linear,
  [LINEAR_GRAD_INPUT]: linearGradInput,
  [LORA_LINEAR]: loraLinear,
  [LORA_LINEAR_GRAD]: loraLinearGrad,
  [MERGED_LINEAR]: mergedLinear,
  [RMS_NORM]: norm(RMS_NORM),
  [RMS_NORM_GRAD]: normGrad(RMS_NORM_GRAD),
  [ROPE]: rope,
  [ROUNDED_LINEAR]: roundedLinear,
  [ROUNDED_LINEAR_GRAD_INPUT]: roundedLinearGradInput,
  [ROUNDED_LINEAR_GRAD_WEIGHT]: roundedLinearGradWeight,
};
