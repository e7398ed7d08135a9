import type { ModelFamily } from './family.js';
import { rotaryDecoder } from './rotary.js';
import { readLayerWindows } from './shared.js';

/** Qwen2: Llama with biases on queries, keys and values. Reference: transformers/models/qwen2 */
export const qwen2: ModelFamily = (hf) => {
  const decoder = rotaryDecoder(hf);
  return { ...decoder, qkvBias: true, windows: readLayerWindows(hf, decoder.numLayers) };
};
