import type { ModelFamily } from './family.js';
import { rotaryDecoder } from './rotary.js';

/** Llama 1 to 3. Reference: transformers/models/llama/modeling_llama.py */
export const llama: ModelFamily = (hf) => ({
  ...rotaryDecoder(hf),
  qkvBias: hf.flag('attention_bias', false),
  attentionOutBias: hf.flag('attention_bias', false),
  mlpBias: hf.flag('mlp_bias', false),
});
