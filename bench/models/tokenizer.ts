import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A byte-level BPE tokenizer: what GGUF stores of it, and the Hugging Face file. */
export interface BenchTokenizer {
  readonly tokens: readonly string[];
  /** Pairs as `left right`, best first. */
  readonly merges: readonly string[];
  /** Ids that are never text. */
  readonly special: ReadonlySet<number>;
  readonly bosId: number;
  readonly eosId: number;
  /** tokenizer.json. */
  readonly json: string;
  /** tokenizer_config.json. */
  readonly config: string;
}

interface TokenizerFile {
  readonly added_tokens: readonly { readonly id: number; readonly content: string }[];
  readonly model: { vocab: Record<string, number>; readonly merges: readonly [string, string][] };
}

/**
 * The bundled model's tokenizer, filled up to a vocabulary with tokens that no text has, so that
 * any id a random model chooses can be shown.
 */
export function benchTokenizer(root: string, vocab: number): BenchTokenizer {
  const folder = join(root, 'fixtures', 'models', 'tales-2m');
  const file: TokenizerFile = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8'));
  const configText = readFileSync(join(folder, 'tokenizer_config.json'), 'utf8');
  const known = Object.keys(file.model.vocab).length;
  for (let id = known; id < vocab; id++) file.model.vocab[`<unused_${id}>`] = id;
  const config: Record<string, string> = JSON.parse(configText);
  const idOf = (token: string) => file.model.vocab[token] as number;
  return {
    tokens: Object.entries(file.model.vocab)
      .sort(([, a], [, b]) => a - b)
      .map(([token]) => token),
    merges: file.model.merges.map((pair) => pair.join(' ')),
    special: new Set(file.added_tokens.map(({ id }) => id)),
    bosId: idOf(config.bos_token as string),
    eosId: idOf(config.eos_token as string),
    json: JSON.stringify(file),
    config: JSON.stringify({ ...config, model_max_length: 1e9 }),
  };
}
