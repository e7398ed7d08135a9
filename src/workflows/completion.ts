import { randomUUID } from 'node:crypto';
import type { GenerateOptions, Generation } from '../generate/decode.js';
import type { Placed, TokenLogprob } from '../generate/logprobs.js';
import type { FinishReason, Sequence } from '../generate/sequence.js';
import type { WantedSampling } from '../generate/settings.js';
import type { KvDtype } from '../tensor/kv-dtype.js';
import type { ChatMessage, Tokenizer } from '../tokenizer/tokenizer.js';

/** One text to continue. */
export interface CompletionRequest extends WantedSampling {
  /** A text, or a conversation to answer. */
  readonly prompt: string | readonly ChatMessage[];
  /** Left out: 256, or what is left of the context. */
  readonly maxNewTokens?: number | undefined;
  readonly seed: number;
  readonly stop?: readonly string[];
  readonly sequences?: number;
  readonly echo?: boolean;
  readonly logprobs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onText?: (text: string, sequence: number) => void;
}

/** A token, its text and its natural-log probability. */
export interface NamedLogprob extends TokenLogprob {
  readonly token: string;
}

/** Probabilities of a text's ids, one entry per id; null where an id has nothing before it. */
export interface CompletionLogprobs {
  readonly tokens: readonly string[];
  readonly ids: readonly number[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (readonly NamedLogprob[] | null)[];
  /** Where each id's text begins in `text`, in code points. */
  readonly text_offset: readonly number[];
}

/** One text. */
export interface CompletionChoice {
  readonly index: number;
  readonly text: string;
  readonly finish_reason: FinishReason;
  /** The new ids, the prompt's before them under `echo`. */
  readonly ids: readonly number[];
  readonly logprobs: CompletionLogprobs | null;
}

/** OpenAI's completion object, with ids, timings and the backend. */
export interface Completion {
  readonly id: string;
  readonly object: 'text_completion';
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
  readonly choices: readonly CompletionChoice[];
  readonly usage: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly total_tokens: number;
  };
  readonly timings: {
    readonly load_ms: number;
    readonly prompt_ms: number;
    readonly decode_ms: number;
    readonly prompt_tokens_per_second: number;
    readonly decode_tokens_per_second: number;
  };
  readonly backend: string;
  readonly compute: string;
  readonly kv_dtype: KvDtype;
}

/** Where a generation comes from. */
export interface CompletionSource {
  readonly resolved: GenerateOptions;
  readonly tokenizer: Tokenizer;
  readonly model: string;
  readonly backend: string;
  readonly compute: string;
  readonly kvDtype: KvDtype;
  readonly loadMs: number;
}

/** Makes the completion object of a generation. */
export function toCompletion(generation: Generation, source: CompletionSource): Completion {
  const { model, backend, compute, kvDtype } = source;
  const { promptIds } = source.resolved;
  const newTokens = generation.sequences.reduce((sum, { ids }) => sum + ids.length, 0);
  return {
    id: `cmpl-${randomUUID()}`,
    object: 'text_completion',
    created: Math.floor(Date.now() / 1000),
    model,
    choices: generation.sequences.map((sequence, index) =>
      choice(sequence, index, generation, source),
    ),
    usage: {
      prompt_tokens: promptIds.length,
      completion_tokens: newTokens,
      total_tokens: promptIds.length + newTokens,
    },
    timings: {
      load_ms: round(source.loadMs),
      prompt_ms: round(generation.prefillMs),
      decode_ms: round(generation.decodeMs),
      prompt_tokens_per_second: rate(generation.prefillTokens, generation.prefillMs),
      decode_tokens_per_second: rate(newTokens, generation.decodeMs),
    },
    backend,
    compute,
    kv_dtype: kvDtype,
  };
}

function choice(
  sequence: Sequence,
  index: number,
  { prompt }: Generation,
  { resolved, tokenizer }: CompletionSource,
): CompletionChoice {
  const ids = resolved.echo ? [...resolved.promptIds, ...sequence.ids] : sequence.ids;
  const placed = resolved.echo ? [undefined, ...prompt, ...sequence.placed] : sequence.placed;
  return {
    index,
    text: sequence.text,
    finish_reason: sequence.finishReason ?? 'length',
    ids,
    logprobs: resolved.logprobs === undefined ? null : logprobs(tokenizer, sequence, ids, placed),
  };
}

function logprobs(
  tokenizer: Tokenizer,
  sequence: Sequence,
  ids: readonly number[],
  placed: readonly (Placed | undefined)[],
): CompletionLogprobs {
  const named = ({ id, logprob }: TokenLogprob) => ({
    id,
    token: tokenizer.tokenText(id),
    logprob,
  });
  return {
    tokens: ids.map((id) => tokenizer.tokenText(id)),
    ids,
    token_logprobs: placed.map((one) => one?.logprob ?? null),
    top_logprobs: placed.map((one) => one?.best.map(named) ?? null),
    text_offset: sequence.textOffsets(),
  };
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

function rate(tokens: number, ms: number): number {
  return ms > 0 ? round((1000 * tokens) / ms) : 0;
}
