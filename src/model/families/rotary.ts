import { activationOf } from '../activations.js';
import type { DecoderConfig, ModuleNames } from '../config.js';
import type { ConfigReader } from '../config-reader.js';
import { readRope } from '../rope.js';
import { forEachLayer, readHeadSize, readNumLayers } from './shared.js';

const NAMES: ModuleNames = {
  basePrefix: 'model.',
  tokens: 'model.embed_tokens',
  layers: 'model.layers',
  finalNorm: 'model.norm',
  qkv: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  queryNorm: 'self_attn.q_norm',
  keyNorm: 'self_attn.k_norm',
  attentionOut: 'self_attn.o_proj',
  attentionNorm: 'input_layernorm',
  mlpIn: ['mlp.gate_proj', 'mlp.up_proj'],
  mlpOut: 'mlp.down_proj',
  mlpNorm: 'post_attention_layernorm',
};

/** What Llama and its descendants share: RMSNorm before each sub-layer, RoPE, GQA, a gated MLP. */
export function rotaryDecoder(hf: ConfigReader): DecoderConfig {
  const hiddenSize = hf.size('hidden_size');
  const numLayers = readNumLayers(hf, 'num_hidden_layers');
  const numHeads = hf.size('num_attention_heads');
  const headSize =
    hf.optionalSize('head_dim') ?? readHeadSize(hf, { hiddenSize, numHeads, key: 'hidden_size' });
  const rope = readRope(hf, headSize);
  return {
    names: NAMES,
    vocabSize: hf.size('vocab_size'),
    hiddenSize,
    embeddingSize: hiddenSize,
    intermediateSize: hf.size('intermediate_size'),
    numLayers,
    numHeads,
    numKvHeads: hf.size('num_key_value_heads', numHeads),
    headSize,
    maxLength: rope.maxLength,
    tiedHead: hf.flag('tie_word_embeddings', false),
    norm: { kind: 'rms', eps: hf.number('rms_norm_eps', 1e-6), weight: true, bias: false },
    preNorm: true,
    finalNorm: true,
    qkNorm: false,
    qkvBias: false,
    attentionOutBias: false,
    attentionScales: forEachLayer(numLayers, headSize ** -0.5),
    windows: forEachLayer(numLayers, undefined),
    activation: activationOf(hf.text('hidden_act', 'silu')),
    mlpBias: false,
    transposedOnDisk: false,
    rope,
    initializerRange: hf.number('initializer_range', 0.02),
    residualInitializerRange: hf.number('initializer_range', 0.02),
  };
}
