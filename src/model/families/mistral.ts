import type { ModelFamily } from './family.js';
import { rotaryDecoder } from './rotary.js';
import { forEachLayer } from './shared.js';

/** Mistral: Llama with a sliding window. Reference: transformers/models/mistral/modeling_mistral.py */
export const mistral: ModelFamily = (hf) => {
  const decoder = rotaryDecoder(hf);
  const window = hf.optionalSize('sliding_window', 4096);
  return { ...decoder, windows: forEachLayer(decoder.numLayers, window) };
};
