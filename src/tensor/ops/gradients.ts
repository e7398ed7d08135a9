import type { GradConfig } from '../tfjs.js';
import { activationGradient } from './activation.js';
import { attentionGradient } from './attention.js';
import { dropoutGradient } from './dropout.js';
import { gatedMlpGradient } from './gated-mlp.js';
import { layerNormGradient } from './layer-norm.js';
import { linearDenseGradient, linearGradient } from './linear.js';
import { rmsNormGradient } from './rms-norm.js';
import { ropeGradient } from './rope.js';

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
];
