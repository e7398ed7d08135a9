/**
 * config.json of a model that never ends a text by itself: long enough to leave the first 1024 tokens behind, small
 * enough for an emulated device.
 */
export const ENDLESS_CONFIG = {
  model_type: 'llama',
  vocab_size: 256,
  hidden_size: 32,
  intermediate_size: 32,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 1200,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  initializer_range: 0.3,
};
