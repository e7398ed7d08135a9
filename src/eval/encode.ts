import { LlmkitError } from '../errors.js';
import type { ScoreRow } from '../model/score.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { rstrip } from './python-text.js';
import type { Request } from './task.js';

/** How requests become tokens. */
export interface EncodeOptions {
  readonly tokenizer: Tokenizer;
  /** Tokens the model sees at most. */
  readonly contextLength: number;
  /** Contexts were rendered by a chat template and hold their special tokens already. */
  readonly rendered?: boolean;
}

/** A request as token rows. */
export interface EncodedRequest {
  readonly rows: readonly ScoreRow[];
  /** The context lost its beginning. */
  readonly isTruncated: boolean;
}

/**
 * The token rows of a request, by lm-evaluation-harness's rules: trailing white space of the
 * context goes to the continuation; context and whole are encoded, and what the whole has beyond
 * the context is scored; a row that is too long loses its beginning.
 *
 * @throws LlmkitError `config` when nothing would be scored, or more than the model can see
 */
export function encodeRequest(request: Request, options: EncodeOptions): EncodedRequest {
  if (request.kind === 'tokens') return { rows: request.rows, isTruncated: false };
  const { contextLength } = options;
  const { context, continuation } = encodePair(request, options);
  if (continuation.length === 0 || continuation.length > contextLength) {
    const shown = JSON.stringify(request.continuation.slice(0, 60));
    throw new LlmkitError(
      'config',
      `the answer ${shown} has ${continuation.length} tokens; expected 1 to ${contextLength}, the model's context`,
    );
  }
  // The last token is only predicted: one more fits than the model sees.
  const whole = [...context, ...continuation];
  const ids = whole.slice(-(contextLength + 1));
  const row = { ids, from: ids.length - continuation.length };
  return { rows: [row], isTruncated: ids.length < whole.length };
}

interface EncodedPair {
  readonly context: readonly number[];
  readonly continuation: readonly number[];
}

function encodePair(
  { context, continuation }: { context: string; continuation: string },
  options: EncodeOptions,
): EncodedPair {
  const before = rstrip(context);
  const after = context.slice(before.length) + continuation;
  const specialTokens = !options.rendered && !startsWithBos(before, options.tokenizer);
  const encode = (text: string) => options.tokenizer.encode(text, { specialTokens });
  const encoded = before === '' ? [] : encode(before);
  if (encoded.length === 0) return afterPrefix(context === '' ? continuation : after, options);
  return { context: encoded, continuation: encode(before + after).slice(encoded.length) };
}

/** Without a context the text follows BOS, else EOS; where it begins with that, it is not said twice. */
function afterPrefix(text: string, { tokenizer }: EncodeOptions): EncodedPair {
  const ids = tokenizer.encode(text, { specialTokens: false });
  const prefix = prefixId(tokenizer);
  if (ids[0] === prefix) return { context: [prefix], continuation: ids.slice(1) };
  return { context: [prefix], continuation: ids };
}

/** The token that stands for an empty context. */
export function prefixId(tokenizer: Tokenizer): number {
  const id = tokenizer.bosId ?? tokenizer.eosIds[0];
  if (id !== undefined) return id;
  throw new LlmkitError(
    'unsupported',
    'tokenizer: expected a BOS or EOS token to stand before a text without context, got neither',
  );
}

function startsWithBos(text: string, tokenizer: Tokenizer): boolean {
  const id = tokenizer.bosId ?? tokenizer.eosIds[0];
  if (id === undefined) return false;
  const special = tokenizer.decode([id], { skipSpecialTokens: false });
  return special !== '' && text.startsWith(special);
}
