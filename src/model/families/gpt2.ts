import { LlmkitError } from '../../errors.js';
import { activationOf } from '../activations.js';
import type { ModuleNames } from '../config.js';
import type { ModelFamily } from './family.js';
import { forEachLayer, readHeadSize, readNumLayers } from './shared.js';

const NAMES: ModuleNames = {
  basePrefix: 'transformer.',
  tokens: 'transformer.wte',
  positions: 'transformer.wpe',
  layers: 'transformer.h',
  finalNorm: 'transformer.ln_f',
  qkv: ['attn.c_attn'],
  attentionOut: 'attn.c_proj',
  attentionNorm: 'ln_1',
  mlpIn: ['mlp.c_fc'],
  mlpOut: 'mlp.c_proj',
  mlpNorm: 'ln_2',
};

/** GPT-2: Conv1D layers, one matrix for q, k and v. Reference: transformers/models/gpt2 */
export const gpt2: ModelFamily = (hf) => {
  if (hf.flag('add_cross_attention', false)) {
    throw new LlmkitError('unsupported', 'config.json: add_cross_attention is not supported');
  }
  const hiddenSize = hf.size('n_embd');
  const numLayers = readNumLayers(hf, 'n_layer');
  const numHeads = hf.size('n_head');
  const headSize = readHeadSize(hf, { hiddenSize, numHeads, key: 'n_embd' });
  const initializerRange = hf.number('initializer_range', 0.02);
  const scale = hf.flag('scale_attn_weights', true) ? headSize ** -0.5 : 1;
  const byLayer = hf.flag('scale_attn_by_inverse_layer_idx', false);
  return {
    names: NAMES,
    vocabSize: hf.size('vocab_size'),
    hiddenSize,
    embeddingSize: hiddenSize,
    intermediateSize: hf.size('n_inner', 4 * hiddenSize),
    numLayers,
    numHeads,
    numKvHeads: numHeads,
    headSize,
    maxLength: hf.size('n_positions'),
    tiedHead: hf.flag('tie_word_embeddings', true),
    norm: { kind: 'layer', eps: hf.number('layer_norm_epsilon', 1e-5), weight: true, bias: true },
    preNorm: true,
    finalNorm: true,
    qkNorm: false,
    qkvBias: true,
    attentionOutBias: true,
    attentionScales: Array.from({ length: numLayers }, (_, i) =>
      byLayer ? scale / (i + 1) : scale,
    ),
    windows: forEachLayer(numLayers, undefined),
    activation: activationOf(hf.text('activation_function', 'gelu_new')),
    mlpBias: true,
    transposedOnDisk: true,
    learnedPositions: { offset: 0 },
    initializerRange,
    residualInitializerRange: initializerRange / Math.sqrt(2 * numLayers),
  };
};
