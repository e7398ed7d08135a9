import type { HfConfig } from '../../checkpoint/checkpoint.js';
import { LlmkitError } from '../../errors.js';
import type { DecoderConfig } from '../config.js';
import { ConfigReader } from '../config-reader.js';
import type { ModelFamily } from './family.js';
import { gpt2 } from './gpt2.js';
import { llama } from './llama.js';
import { mistral } from './mistral.js';
import { opt } from './opt.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';

/** The families, by the `model_type` of config.json. The only place a family is listed. */
export const families: Readonly<Record<string, ModelFamily>> = {
  gpt2,
  llama,
  mistral,
  opt,
  qwen2,
  qwen3,
};

/**
 * Reads a config.json.
 *
 * @throws LlmkitError `unsupported` when no family has this `model_type`; `checkpoint` on bad values
 */
export function decoderConfig(hf: HfConfig): DecoderConfig {
  const reader = new ConfigReader(hf);
  const config = familyOf(hf)(reader);
  if (config.numHeads % config.numKvHeads !== 0) {
    reader.problem(
      `num_key_value_heads: expected a divisor of ${config.numHeads} heads, got ${config.numKvHeads}`,
    );
  }
  reader.finish();
  return config;
}

/** The keys of a config.json that its family reads, there or not; `model_type` left out. */
export function keysRead(hf: HfConfig): ReadonlySet<string> {
  const reader = new ConfigReader(hf);
  familyOf(hf)(reader);
  return reader.keys;
}

function familyOf({ model_type: type }: HfConfig): ModelFamily {
  const family = typeof type === 'string' && Object.hasOwn(families, type) && families[type];
  if (family) return family;
  const known = Object.keys(families).join(', ');
  const got = type === undefined ? 'is missing' : `${JSON.stringify(type)} is not supported`;
  throw new LlmkitError('unsupported', `config.json: model_type ${got}; supported: ${known}`);
}
