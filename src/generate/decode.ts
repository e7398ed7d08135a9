import { setImmediate as nextTurn } from 'node:timers/promises';
import { LlmkitError } from '../errors.js';
import type { Decoder } from '../model/decoder.js';
import type { KvCache } from '../model/kv-cache.js';
import * as tf from '../tensor/tfjs.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { type Placed, placeToken } from './logprobs.js';
import { uniformAt } from './random.js';
import { chooseToken, type Sampling } from './sampler.js';
import { Sequence } from './sequence.js';

/** What to generate. */
export interface GenerateOptions {
  readonly promptIds: readonly number[];
  readonly maxNewTokens: number;
  readonly sampling: Sampling;
  readonly seed: number;
  /** Texts that end a sequence; it ends before them. */
  readonly stop: readonly string[];
  /** How many sequences, each its own random stream. */
  readonly sequences: number;
  /** Texts and probabilities begin with the prompt's. */
  readonly echo: boolean;
  /** Probabilities of every id, with this many of the best at its place. */
  readonly logprobs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told each piece of text of each sequence as it is final. */
  readonly onText?: ((text: string, sequence: number) => void) | undefined;
}

/** The texts, and what they took. */
export interface Generation {
  readonly sequences: readonly Sequence[];
  /** Probabilities of the prompt's ids from the second on; only with `echo` and `logprobs`. */
  readonly prompt: readonly Placed[];
  readonly prefillMs: number;
  readonly decodeMs: number;
}

/** Tokens of a prompt per forward pass: bounds memory, and a signal is heard between two. */
const PREFILL_TOKENS = 256;

/**
 * Continues a prompt, one token per step and sequence, with a key/value cache.
 *
 * @throws LlmkitError `usage` when the prompt is longer than the model's context
 */
export async function generate(
  model: Decoder,
  tokenizer: Tokenizer,
  options: GenerateOptions,
): Promise<Generation> {
  const { promptIds, stop, echo } = options;
  const { maxLength } = model.config;
  const maxNewTokens = newTokenLimit(maxLength, promptIds.length, options.maxNewTokens);
  const sequences = Array.from({ length: options.sequences }, (_, i) => {
    const onText = options.onText && ((text: string) => options.onText?.(text, i));
    return new Sequence({ tokenizer, promptIds, maxNewTokens, stop, echo, onText });
  });
  const cache = model.newCache(1);
  try {
    const begunMs = performance.now();
    const { logits, placed } = await prefill(model, cache, options);
    const prefilledMs = performance.now();
    await continueAll({ model, cache, options, sequences }, logits);
    const decodeMs = performance.now() - prefilledMs;
    return { sequences, prompt: placed, prefillMs: prefilledMs - begunMs, decodeMs };
  } finally {
    cache.dispose();
  }
}

/**
 * New tokens that fit into the context, at most those asked for.
 *
 * @throws LlmkitError `usage` when the prompt alone does not fit
 */
export function newTokenLimit(context: number, promptTokens: number, maxNewTokens: number): number {
  const room = context - promptTokens;
  if (room >= 0) return Math.min(maxNewTokens, room);
  throw new LlmkitError(
    'usage',
    `generate: the prompt has ${promptTokens} tokens, ${-room} more than the model's context of ${context}; shorten it`,
  );
}

/** Runs the prompt into the cache. @returns the logits after it, [V] */
async function prefill(
  model: Decoder,
  cache: KvCache,
  { promptIds, echo, logprobs, signal }: GenerateOptions,
): Promise<{ logits: Float32Array; placed: Placed[] }> {
  const placed: Placed[] = [];
  const scores = echo && logprobs !== undefined;
  let logits = new Float32Array(0);
  for (let start = 0; start < promptIds.length; start += PREFILL_TOKENS) {
    const ids = promptIds.slice(start, start + PREFILL_TOKENS);
    const rows = forward(model, cache, [ids], scores ? 0 : ids.length - 1);
    logits = rows.at(-1) as Float32Array<ArrayBuffer>;
    rows.forEach((row, i) => {
      const next = promptIds[start + i + 1];
      if (scores && next !== undefined) placed.push(placeToken(row, next, logprobs));
    });
    await nextTurn();
    signal?.throwIfAborted();
  }
  return { logits, placed };
}

/** What a step needs. */
interface Run {
  readonly model: Decoder;
  readonly cache: KvCache;
  readonly options: GenerateOptions;
  readonly sequences: readonly Sequence[];
}

/** Steps until every sequence has ended; ended ones leave the batch. */
async function continueAll(run: Run, promptLogits: Float32Array): Promise<void> {
  const { model, cache, options, sequences } = run;
  let active = [...sequences.keys()].filter((i) => !sequences[i]?.finishReason);
  if (active.length > 1) cache.select(active.map(() => 0));
  let logits = active.map(() => promptLogits);
  while (active.length > 0) {
    const ids = active.map((index, row) => step(run, index, logits[row] as Float32Array));
    const rows = [...active.keys()].filter(
      (row) => !sequences[active[row] as number]?.finishReason,
    );
    if (rows.length === 0) return;
    if (rows.length < active.length) cache.select(rows);
    active = rows.map((row) => active[row] as number);
    logits = forward(
      model,
      cache,
      rows.map((row) => [ids[row] as number]),
      0,
    );
    await nextTurn();
    options.signal?.throwIfAborted();
  }
}

/** Chooses a sequence's next token from its logits. */
function step({ options, sequences }: Run, index: number, logits: Float32Array): number {
  const sequence = sequences[index] as Sequence;
  const uniform = uniformAt(options.seed, index, sequence.ids.length);
  const id = chooseToken(logits, sequence.seen, options.sampling, uniform);
  if (options.logprobs !== undefined)
    sequence.placed.push(placeToken(logits, id, options.logprobs));
  sequence.push(id);
  return id;
}

/** Logits of each row's positions from `from` on: [B · (T - from)] rows of [V]. */
function forward(
  model: Decoder,
  cache: KvCache,
  rows: readonly (readonly number[])[],
  from: number,
): Float32Array[] {
  const { values, width } = tf.tidy(() => {
    const hidden = model.forward(
      rows.map((ids) => ({ ids })),
      { cache },
    );
    const [batch, tokens, size] = hidden.shape;
    const wanted =
      from === 0 ? hidden : tf.slice(hidden, [0, from, 0], [batch, tokens - from, size]);
    const logits = model.logits(wanted);
    return {
      values: logits.dataSync<'float32'>() as Float32Array,
      width: logits.shape.at(-1) as number,
    };
  });
  return Array.from({ length: values.length / width }, (_, i) =>
    values.slice(i * width, (i + 1) * width),
  );
}
