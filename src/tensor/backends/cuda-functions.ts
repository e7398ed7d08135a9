import type { DeviceAddon } from './addon-device.js';

type Functions = readonly (keyof DeviceAddon)[];

const UNARY: Functions = ['unary'];
const BINARY: Functions = ['binary'];
const REDUCE: Functions = ['reduce'];
const COPIES: Functions = ['stridedCopy', 'fill'];
const LINEAR: Functions = ['linear', 'linearGradInput'];
const LORA: Functions = ['loraLinear', 'loraLinearGrad'];
const ATTENTION: Functions = ['attention', 'attentionGrad'];
const ACTIVATION: Functions = ['activation', 'activationGrad'];
const GATED: Functions = ['gatedMlp', 'gatedMlpGrad'];
const KEPT: Functions = ['gatedMlpKeep', 'gatedMlpKept', 'gatedMlpKeptGrad'];
const ROUNDED: Functions = ['roundedLinear', 'roundedLinearGradInput', 'roundedLinearGradWeight'];
const RMS_NORM: Functions = ['rmsNorm', 'rmsNormGrad'];
const LAYER_NORM: Functions = ['layerNorm', 'layerNormGrad'];
const CROSS_ENTROPY: Functions = ['crossEntropy', 'crossEntropyGrad'];

/** What each kernel calls, with what its gradient calls. */
export const FUNCTIONS_OF: Readonly<Record<string, Functions>> = {
  Abs: UNARY,
  Add: BINARY,
  AddN: BINARY,
  ArgMax: ['argmax'],
  BatchMatMul: ['matmul'],
  Concat: COPIES,
  Erf: UNARY,
  Exp: UNARY,
  Fill: ['fill'],
  GatherV2: ['gather'],
  Log: UNARY,
  Max: REDUCE,
  Maximum: BINARY,
  Mean: REDUCE,
  Minimum: BINARY,
  Multiply: BINARY,
  Neg: UNARY,
  OnesLike: ['fill'],
  Pack: COPIES,
  PadV2: COPIES,
  RealDiv: BINARY,
  Reciprocal: UNARY,
  Relu: UNARY,
  Rsqrt: UNARY,
  Sigmoid: UNARY,
  Slice: COPIES,
  Softmax: ['softmax'],
  SplitV: COPIES,
  Sqrt: UNARY,
  Square: UNARY,
  SquaredDifference: BINARY,
  Step: UNARY,
  Sub: BINARY,
  Sum: REDUCE,
  Tanh: UNARY,
  Tile: COPIES,
  Transpose: ['transpose'],
  Unpack: COPIES,
  UnsortedSegmentSum: ['scatterAdd', 'fill'],
  ZerosLike: ['fill'],
  LlmkitActivation: ACTIVATION,
  LlmkitActivationGrad: ACTIVATION,
  LlmkitAdamW: ['adamw'],
  LlmkitAttention: ATTENTION,
  LlmkitAttentionGrad: ATTENTION,
  LlmkitCachedAttention: ['cachedAttention', 'createKvCache', 'disposeKvCache', 'selectKvRows'],
  LlmkitCrossEntropy: CROSS_ENTROPY,
  LlmkitCrossEntropyGrad: CROSS_ENTROPY,
  LlmkitDropout: ['dropout'],
  LlmkitEmbedding: ['dequantizeRows'],
  LlmkitGatedLinear: ['gatedLinear'],
  LlmkitGatedMlp: GATED,
  LlmkitGatedMlpGrad: GATED,
  LlmkitGatedMlpKeep: KEPT,
  LlmkitGatedMlpKept: KEPT,
  LlmkitGatedMlpKeptGrad: KEPT,
  LlmkitLayerNorm: LAYER_NORM,
  LlmkitLayerNormGrad: LAYER_NORM,
  LlmkitLinear: LINEAR,
  LlmkitLinearDense: LINEAR,
  LlmkitLinearGradInput: LINEAR,
  LlmkitLinearResidual: LINEAR,
  LlmkitLoraLinear: LORA,
  LlmkitLoraLinearGrad: LORA,
  LlmkitMergedLinear: ['mergedLinear'],
  LlmkitRmsNorm: RMS_NORM,
  LlmkitRmsNormGrad: RMS_NORM,
  LlmkitRope: ['rope'],
  LlmkitRoundedLinear: ROUNDED,
  LlmkitRoundedLinearGradInput: ROUNDED,
  LlmkitRoundedLinearGradWeight: ROUNDED,
  LlmkitSample: ['sampleRows'],
};
