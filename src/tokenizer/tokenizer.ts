import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { LlmkitError } from '../errors.js';
import { byteOf, fixByteFallback } from './byte-fallback.js';
import { fixByteLevel } from './byte-level.js';
import { type ChatTemplate, hashChatTemplate, parseChatTemplate } from './chat-template.js';
import { createLibraryTokenizer, type LibraryTokenizer } from './library.js';
import { specialTokensOf } from './special-tokens.js';
import { createStreamDecoder, type StreamDecoder } from './stream-decoder.js';
import { type JsonObject, readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.js';

export type { ChatMessage, ChatTemplate } from './chat-template.js';
export type { StreamDecoder } from './stream-decoder.js';

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

/**
 * Loads the tokenizer of a checkpoint folder: tokenizer.json, the special tokens, the chat template.
 *
 * @throws LlmkitError `checkpoint` when tokenizer.json is missing or a file is broken, `unsupported` when it needs
 *   a part that the library lacks
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const files = await readTokenizerFiles(folder);
  const tokenizer = build(files, join(folder, 'tokenizer.json'));
  const special = specialTokensOf(files, (token) => tokenizer.token_to_id(token));
  const chat = templateOf(files, folder);
  return {
    ...codec(tokenizer),
    vocabSize: tokenizer.get_vocab().size,
    ...(special.bosId !== undefined && { bosId: special.bosId }),
    eosIds: special.eosIds,
    ...(special.padId !== undefined && { padId: special.padId }),
    ...(chat && { chatTemplate: parseChatTemplate(chat.source, special.texts, chat.where) }),
    hash: sha256(files.tokenizerText),
  };
}

/**
 * What identifies the tokenizer of a folder, without making one: for those who only note it.
 *
 * @returns the hashes of `Tokenizer` and of its chat template
 * @throws LlmkitError `checkpoint` when tokenizer.json is missing or a file is broken
 */
export async function hashTokenizer(
  folder: string,
): Promise<{ readonly hash: string; readonly chatTemplateHash?: string }> {
  const files = await readTokenizerFiles(folder);
  const hash = sha256(files.tokenizerText);
  const chat = templateOf(files, folder);
  return chat ? { hash, chatTemplateHash: hashChatTemplate(chat.source) } : { hash };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function build(files: TokenizerFiles, path: string): LibraryTokenizer {
  try {
    return createLibraryTokenizer(files.tokenizer, files.settings);
  } catch (error) {
    const reason = (error as Error).message;
    throw new LlmkitError('unsupported', `${path}: cannot be used: ${reason}`, { cause: error });
  }
}

type Codec = Pick<Tokenizer, 'encode' | 'decode' | 'streamDecoder' | 'tokenText'>;

function codec(tokenizer: LibraryTokenizer): Codec {
  const hasByteFallback = fixByteFallback(tokenizer.decoder);
  fixByteLevel(tokenizer.pre_tokenizer);
  const special = new Set(tokenizer.special_tokens);
  const isByte = (id: number) => byteOf(tokenizer.id_to_token(id) ?? '') !== undefined;
  const decode = (ids: readonly number[], { skipSpecialTokens = true }: DecodeOptions = {}) => {
    const known = ids.filter((id) => tokenizer.id_to_token(id) !== undefined);
    if (known.length === 0) return '';
    return tokenizer.decode(known, { skip_special_tokens: skipSpecialTokens });
  };
  return {
    encode: (text, { specialTokens = true } = {}) =>
      tokenizer.encode(text, { add_special_tokens: specialTokens }).ids,
    decode,
    streamDecoder: (options = {}) =>
      createStreamDecoder({
        decode: (ids) => decode(ids, options),
        isOpen: (id) => hasByteFallback && isByte(id),
        isSkipped: (id) =>
          (options.skipSpecialTokens ?? true) && special.has(tokenizer.id_to_token(id) ?? ''),
      }),
    tokenText(id) {
      if (hasByteFallback && isByte(id)) return tokenizer.id_to_token(id) ?? '';
      // The first token of a text may lose its space: the second one shows it.
      const options = { skipSpecialTokens: false };
      return decode([id, id], options).slice(decode([id], options).length);
    },
  };
}

/** chat_template.jinja, else tokenizer_config.json's template: a text, or the one named 'default'. */
function templateOf(
  files: TokenizerFiles,
  folder: string,
): { source: string; where: string } | undefined {
  if (files.template !== undefined) {
    return { source: files.template, where: join(folder, 'chat_template.jinja') };
  }
  const stated = files.settings.chat_template;
  const named = Array.isArray(stated)
    ? stated.find((entry: JsonObject | null) => entry?.name === 'default')?.template
    : stated;
  if (typeof named !== 'string') return undefined;
  return { source: named, where: join(folder, 'tokenizer_config.json') };
}
