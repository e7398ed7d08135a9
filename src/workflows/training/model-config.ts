import { readFile } from 'node:fs/promises';
import type { HfConfig } from '../../checkpoint/checkpoint.js';
import { LlmkitError } from '../../errors.js';
import { keysRead } from '../../model/families/index.js';
import { closest } from '../../suggest.js';
import type { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { TrainingConfig } from './config.js';

/** Letters of a key that may be wrong: Hugging Face writes many keys that no family reads. */
const MISSPELT_SHARE = 0.25;

/**
 * The config.json of a new model, from `model_config` and what the tokenizer decides.
 *
 * @throws LlmkitError `config` when it cannot be read, does not fit the tokenizer, or has a key that
 *   looks like a misspelt one
 */
export async function readModelConfig(
  given: TrainingConfig['model_config'],
  tokenizer: Tokenizer,
): Promise<HfConfig> {
  const config = withTokenizer(await parse(given), tokenizer);
  refuseMisspelt(config);
  return config;
}

async function parse(given: TrainingConfig['model_config']): Promise<HfConfig> {
  if (typeof given !== 'string') return given ?? {};
  try {
    return JSON.parse(await readFile(given, 'utf8')) as HfConfig;
  } catch (error) {
    throw new LlmkitError(
      'config',
      `model_config: expected a mapping or a config.json at ${given}: ${(error as Error).message}`,
    );
  }
}

/** What the tokenizer decides of a config is taken from it, where the config does not say. */
function withTokenizer(config: HfConfig, tokenizer: Tokenizer): HfConfig {
  const { vocabSize, bosId, eosIds, padId } = tokenizer;
  const full: HfConfig = {
    vocab_size: vocabSize,
    ...(bosId !== undefined && { bos_token_id: bosId }),
    ...(eosIds[0] !== undefined && { eos_token_id: eosIds[0] }),
    ...(padId !== undefined && { pad_token_id: padId }),
    ...config,
  };
  if (Number(full.vocab_size) >= vocabSize) return full;
  throw new LlmkitError(
    'config',
    `model_config: vocab_size must be at least the tokenizer's ${vocabSize} tokens, got ${full.vocab_size}`,
  );
}

/** A misspelt key would train another model than the one that was meant. */
export function refuseMisspelt(config: HfConfig): void {
  const known = keysRead(config);
  const misspelt = Object.keys(config).flatMap((key) => {
    if (key === 'model_type' || known.has(key)) return [];
    const meant = closest(key, known, MISSPELT_SHARE);
    return meant === undefined ? [] : [`${key} is not a known key; did you mean ${meant}?`];
  });
  if (misspelt.length === 0) return;
  throw new LlmkitError('config', `model_config: ${misspelt.join('\nmodel_config: ')}`);
}
