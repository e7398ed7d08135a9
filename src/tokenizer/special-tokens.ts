import type { JsonObject, TokenizerFiles } from './tokenizer-files.js';

/** Special tokens by their role. */
export interface SpecialTokens {
  /** bos_token, eos_token, … as templates name them → the token's text. */
  readonly texts: Readonly<Record<string, string>>;
  readonly bosId: number | undefined;
  /** Union of what every file calls the end of a text. */
  readonly eosIds: readonly number[];
  readonly padId: number | undefined;
}

/** Collects the special tokens from tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json. */
export function specialTokensOf(
  files: TokenizerFiles,
  idOf: (token: string) => number | undefined,
): SpecialTokens {
  const texts = { ...textsOf(files.specialTokens), ...textsOf(files.settings) };
  const configs = [files.generation, files.config];
  const idsOf = (role: string): number[] => {
    const text = texts[`${role}_token`];
    const named = text === undefined ? undefined : idOf(text);
    const stated = configs.flatMap((config) => integers(config[`${role}_token_id`]));
    return [...new Set(named === undefined ? stated : [named, ...stated])];
  };
  return { texts, bosId: idsOf('bos')[0], eosIds: idsOf('eos'), padId: idsOf('pad')[0] };
}

/** Entries `x_token`: a text, or an object with its content. */
function textsOf(settings: JsonObject): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [key, value] of Object.entries(settings)) {
    if (!key.endsWith('_token')) continue;
    const text =
      typeof value === 'object' && value !== null ? (value as JsonObject).content : value;
    if (typeof text === 'string') texts[key] = text;
  }
  return texts;
}

/** One id or a list of ids. */
function integers(value: unknown): number[] {
  const values = Array.isArray(value) ? value : [value];
  return values.filter((item): item is number => Number.isSafeInteger(item) && item >= 0);
}
