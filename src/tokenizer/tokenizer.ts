import { LlmkitError } from '../errors.js';
import type { ChatTemplate } from './chat-template.js';

export type { ChatMessage, ChatTemplate } from './chat-template.js';

/** Turns ids into text one at a time; what it returns, joined, is decode() of all ids. */
export interface StreamDecoder {
  /** The text that this id completes: empty while a character is unfinished. */
  push(id: number): string;
  /** What is left at the end. */
  flush(): string;
}

/** How ids become text. */
export interface DecodeOptions {
  /** Leaves special tokens out (default true). */
  readonly skipSpecialTokens?: boolean;
}

/** A checkpoint's tokenizer. */
export interface Tokenizer {
  /** Token ids; special tokens are added as the tokenizer's own post-processor does unless `specialTokens` is false. */
  encode(text: string, options?: { specialTokens?: boolean }): number[];
  decode(ids: readonly number[], options?: DecodeOptions): string;
  streamDecoder(options?: DecodeOptions): StreamDecoder;
  /** What one token adds to a text (' the'); `<0xE2>` for a byte token, the replacement character for a part of a character. */
  tokenText(id: number): string;
  /** Number of ids, added tokens included (the model's vocabulary may be larger). */
  readonly vocabSize: number;
  readonly bosId?: number;
  readonly eosIds: readonly number[];
  readonly padId?: number;
  readonly chatTemplate?: ChatTemplate;
  /** sha256 of tokenizer.json, hex. */
  readonly hash: string;
}

/** Loads the tokenizer of a checkpoint folder. */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  throw new LlmkitError('unsupported', `loadTokenizer: not written yet (${folder})`);
}
