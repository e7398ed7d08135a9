import { activationOf } from '../activations.js';
import type { DecoderConfig, ModuleNames } from '../config.js';
import type { ConfigReader } from '../config-reader.js';
import type { ModelFamily } from './family.js';
import { forEachLayer, readHeadSize, readNumLayers } from './shared.js';

const NAMES: ModuleNames = {
  basePrefix: 'model.',
  tokens: 'model.decoder.embed_tokens',
  positions: 'model.decoder.embed_positions',
  projectIn: 'model.decoder.project_in',
  projectOut: 'model.decoder.project_out',
  layers: 'model.decoder.layers',
  finalNorm: 'model.decoder.final_layer_norm',
  qkv: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  attentionOut: 'self_attn.out_proj',
  attentionNorm: 'self_attn_layer_norm',
  mlpIn: ['fc1'],
  mlpOut: 'fc2',
  mlpNorm: 'final_layer_norm',
};

/** OPT, post-norm with projected embeddings (350m) included. Reference: transformers/models/opt */
export const opt: ModelFamily = (hf) => {
  const preNorm = hf.flag('do_layer_norm_before', true);
  const bias = hf.flag('enable_bias', true);
  const affine = hf.flag('layer_norm_elementwise_affine', true);
  return {
    names: NAMES,
    ...readSizes(hf),
    tiedHead: hf.flag('tie_word_embeddings', true),
    norm: { kind: 'layer', eps: 1e-5, weight: affine, bias: affine },
    preNorm,
    finalNorm: preNorm && !hf.flag('_remove_final_layer_norm', false),
    qkNorm: false,
    qkvBias: bias,
    attentionOutBias: bias,
    mlpBias: bias,
    activation: activationOf(hf.text('activation_function', 'relu')),
    transposedOnDisk: false,
    learnedPositions: { offset: 2 },
    initializerRange: hf.number('init_std', 0.02),
    residualInitializerRange: hf.number('init_std', 0.02),
  };
};

type Sizes =
  | 'vocabSize'
  | 'hiddenSize'
  | 'embeddingSize'
  | 'intermediateSize'
  | 'numLayers'
  | 'numHeads'
  | 'numKvHeads'
  | 'headSize'
  | 'maxLength'
  | 'attentionScales'
  | 'windows';

function readSizes(hf: ConfigReader): Pick<DecoderConfig, Sizes> {
  const hiddenSize = hf.size('hidden_size');
  const numLayers = readNumLayers(hf, 'num_hidden_layers');
  const numHeads = hf.size('num_attention_heads');
  const headSize = readHeadSize(hf, { hiddenSize, numHeads, key: 'hidden_size' });
  return {
    vocabSize: hf.size('vocab_size'),
    hiddenSize,
    embeddingSize: hf.size('word_embed_proj_dim', hiddenSize),
    intermediateSize: hf.size('ffn_dim'),
    numLayers,
    numHeads,
    numKvHeads: numHeads,
    headSize,
    maxLength: hf.size('max_position_embeddings'),
    attentionScales: forEachLayer(numLayers, headSize ** -0.5),
    windows: forEachLayer(numLayers, undefined),
  };
}
