import type { GradConfig } from '../tfjs.js';
import { activationGradient } from './activation.js';
import { attentionGradient } from './attention.js';
import { dropoutGradient } from './dropout.js';
import { gatedMlpGradient } from './gated-mlp.js';
import { layerNormGradient } from './layer-norm.js';
import { linearDenseGradient, linearGradient } from './linear.js';
import { rmsNormGradient } from './rms-norm.js';
import { ropeGradient } from './rope.js';
import { roundedLinearGradient } from './rounded-linear.js';

export { activatedLinear } from './activated-linear.js';
export { ACTIVATION_NAMES, type ActivationName, activation } from './activation.js';
export { type AdamWHyper, type AdamWState, adamw } from './adamw.js';
export {
  adamw8bit,
  newRoundedMoments,
  type RoundedMoments,
  roundedMomentBytes,
} from './adamw-8bit.js';
export { type AttentionOptions, attention } from './attention.js';
export { cacheWrite } from './cache-write.js';
export {
  type CachedAttentionOptions,
  cachedAttention,
  type NewTokens,
} from './cached-attention.js';
export { checkpointed } from './checkpointed.js';
export { crossEntropy } from './cross-entropy.js';
export { type DropoutOptions, dropout } from './dropout.js';
export { embedding } from './embedding.js';
export { type GatedLayers, gatedLinear } from './gated-linear.js';
export { gatedMlp } from './gated-mlp.js';
export { type Held, hold } from './held.js';
export { int32 } from './int32.js';
export { type LayerNormOptions, layerNorm } from './layer-norm.js';
export { linear } from './linear.js';
export type { LinearLayer, LowRank } from './linear-layer.js';
export { linearResidual } from './linear-residual.js';
export { type LoraMatrices, type LoraOptions, loraLinear } from './lora-linear.js';
export { mergedLinear } from './merged-linear.js';
export { addResidual, viewAs } from './residual.js';
export { rmsNorm } from './rms-norm.js';
export { rope } from './rope.js';
export { roundedLinear } from './rounded-linear.js';
export { type SampleRow, sample } from './sample.js';
export { hasTokenScores, scoresOfLogits, type TokenScores, tokenScores } from './token-scores.js';

/** Gradients of the fused kernels, for a backend that has them. */
export const fusedGradients: readonly GradConfig[] = [
  activationGradient,
  attentionGradient,
  dropoutGradient,
  gatedMlpGradient,
  layerNormGradient,
  linearDenseGradient,
  linearGradient,
  rmsNormGradient,
  ropeGradient,
  roundedLinearGradient,
];
