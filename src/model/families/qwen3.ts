import type { ModelFamily } from './family.js';
import { rotaryDecoder } from './rotary.js';
import { readLayerWindows } from './shared.js';

/** Qwen3: Llama with RMSNorm on queries and keys. Reference: transformers/models/qwen3 */
export const qwen3: ModelFamily = (hf) => {
  const decoder = rotaryDecoder(hf);
  return {
    ...decoder,
    qkNorm: true,
    qkvBias: hf.flag('attention_bias', false),
    attentionOutBias: hf.flag('attention_bias', false),
    windows: readLayerWindows(hf, decoder.numLayers),
  };
};
