import { Tokenizer } from '@huggingface/tokenizers';
import type { JsonObject } from './tokenizer-files.js';

// The library's own declarations do not resolve under Node's module rules: this is the part in use.

/** A step from tokens to text. */
export interface LibraryDecoder {
  readonly config: { readonly type: string };
  /** Steps of a sequence. */
  readonly decoders?: readonly (LibraryDecoder | null)[];
  decode_chain(tokens: readonly string[]): string[];
}

/** A step that splits text before the model sees it. */
export interface LibraryPreTokenizer {
  readonly config?: { readonly type: string };
  /** Steps of a sequence. */
  readonly tokenizers?: readonly (LibraryPreTokenizer | null)[];
  pattern?: RegExp;
}

/** The tokenizer of `@huggingface/tokenizers`. */
export interface LibraryTokenizer {
  readonly decoder: LibraryDecoder | null;
  readonly pre_tokenizer: LibraryPreTokenizer | null;
  readonly special_tokens: readonly string[];
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: readonly number[], options: { skip_special_tokens: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_vocab(): Map<string, number>;
}

/** Kinds of model the library has; it would take any other for an old format. */
const MODELS = ['BPE', 'WordPiece', 'Unigram'];

/**
 * Makes a tokenizer of tokenizer.json; text is never "cleaned up", which would change it.
 *
 * @throws Error when tokenizer.json needs a part that the library lacks
 */
export function createLibraryTokenizer(
  tokenizer: JsonObject,
  settings: JsonObject,
): LibraryTokenizer {
  const { type = 'BPE' } = (tokenizer.model ?? {}) as { type?: string };
  if (!MODELS.includes(type)) {
    throw new Error(`expected a model of type ${MODELS.join(', ')}, got ${type}`);
  }
  const options = { ...settings, clean_up_tokenization_spaces: false };
  return new Tokenizer(tokenizer, options) as LibraryTokenizer;
}
