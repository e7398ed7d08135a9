import { setImmediate as nextTurn } from 'node:timers/promises';
import { LlmkitError } from '../errors.js';
import type { Decoder } from '../model/decoder.js';
import { fixedPositions } from '../model/device-steps.js';
import type { KvCache } from '../model/kv-cache.js';
import type { KvDtype } from '../tensor/kv-dtype.js';
import { sample } from '../tensor/ops/index.js';
import type { Sampling } from '../tensor/sampling.js';
import * as tf from '../tensor/tfjs.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { type Placed, placeToken } from './logprobs.js';
import { DeviceDecoding } from './on-device.js';
import { PASS_TOKENS, passTokens, runPass } from './prompt-pass.js';
import { uniformAt } from './random.js';
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
  /** What the cache keeps keys and values in; left out: float32. */
  readonly kvDtype?: KvDtype | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told when steps cannot be recorded on a device that records them. */
  readonly onWarning?: ((text: string) => void) | undefined;
  /** Told each piece of text of each sequence as it is final. */
  readonly onText?: ((text: string, sequence: number) => void) | undefined;
}

/** The texts, and what they took. */
export interface Generation {
  readonly sequences: readonly Sequence[];
  /** Probabilities of the prompt's ids from the second on; only with `echo` and `logprobs`. */
  readonly prompt: readonly Placed[];
  /** Tokens of the prompt that were computed: not those that another text had begun with. */
  readonly prefillTokens: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
}

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
  const key = model.keyOf('cache', options.kvDtype);
  const cache = model.kept.take<KvCache>(key) ?? model.newCache(1, options.kvDtype);
  cache.beginAnew(goesOn(model, cache, options) ? promptIds.slice(0, -1) : []);
  const prefillTokens = promptIds.length - (cache.lengths[0] ?? 0);
  let done = false;
  try {
    const begunMs = performance.now();
    const { logits, placed } = await prefill(model, cache, options);
    const prefilledMs = performance.now();
    await continueAll({ model, cache, options, sequences }, logits);
    const decodeMs = performance.now() - prefilledMs;
    done = true;
    const prefillMs = prefilledMs - begunMs;
    return { sequences, prompt: placed, prefillTokens, prefillMs, decodeMs };
  } finally {
    if (done && cache.lengths.length === 1) model.kept.give(key, cache);
    else cache.dispose();
  }
}

/**
 * Whether a text may go on from the tokens that a cache has of another one: nothing has changed in the model, and
 * nobody asks for the probabilities of the prompt.
 */
function goesOn(
  model: Decoder,
  { lengths: [held = 0] }: KvCache,
  { echo, logprobs }: GenerateOptions,
): boolean {
  const scores = echo && logprobs !== undefined;
  return !scores && model.isFrozen && held <= fixedPositions(model.config);
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

/** Runs what the cache does not have of the prompt into it. @returns the logits after it, [1, V] */
async function prefill(
  model: Decoder,
  cache: KvCache,
  { promptIds, echo, logprobs, kvDtype, signal }: GenerateOptions,
): Promise<{ logits: tf.Tensor2D; placed: Placed[] }> {
  const placed: Placed[] = [];
  const scores = echo && logprobs !== undefined;
  let most = scores ? PASS_TOKENS : passTokens(model.config, { tokens: promptIds.length, kvDtype });
  for (let start = cache.lengths[0] ?? 0; ; ) {
    const wanted = Math.min(most, promptIds.length - start);
    const { tokens, result: logits } = runPass(cache, wanted, (count) => {
      const ids = promptIds.slice(start, start + count);
      return forward(model, cache, ids, scores ? 0 : count - 1);
    });
    // What was too much once is too much for the passes after it, which have more keys.
    if (tokens < wanted) most = tokens;
    if (scores) {
      rowsOf(logits).forEach((row, i) => {
        const next = promptIds[start + i + 1];
        if (next !== undefined) placed.push(placeToken(row, next, logprobs));
      });
    }
    const end = tf.tidy(() => lastRow(logits));
    logits.dispose();
    try {
      await nextTurn();
      signal?.throwIfAborted();
    } catch (error) {
      end.dispose();
      throw error;
    }
    start += tokens;
    if (start >= promptIds.length) return { logits: end, placed };
    end.dispose();
  }
}

/** What a step needs. */
export interface Run {
  readonly model: Decoder;
  readonly cache: KvCache;
  readonly options: GenerateOptions;
  readonly sequences: readonly Sequence[];
}

/**
 * Steps until every sequence has ended; ended ones leave the batch.
 *
 * @param promptLogits [1, V], disposed here
 */
async function continueAll(run: Run, promptLogits: tf.Tensor2D): Promise<void> {
  const { model, cache, options, sequences } = run;
  const device = new DeviceDecoding(run);
  let active: readonly number[] = [...sequences.keys()].filter((i) => !sequences[i]?.finishReason);
  if (active.length > 1) cache.select(active.map(() => 0));
  let logits = active.length > 1 ? tf.tile(promptLogits, [active.length, 1]) : promptLogits.clone();
  promptLogits.dispose();
  try {
    while (active.length > 0) {
      step(run, active, logits);
      logits.dispose();
      const rows = [...active.keys()].filter(
        (row) => !sequences[active[row] as number]?.finishReason,
      );
      if (rows.length === 0) return;
      if (rows.length < active.length) cache.select(rows);
      active = rows.map((row) => active[row] as number);
      active = await device.goOn(active);
      if (active.length === 0) return;
      const last = active.map((index) => sequences[index]?.ids.at(-1) as number);
      logits = model.next(last, cache);
      await nextTurn();
      options.signal?.throwIfAborted();
    }
  } finally {
    logits.dispose();
  }
}

/** Chooses the next token of each of these sequences from its row of logits [B, V]. */
function step({ options, sequences }: Run, active: readonly number[], logits: tf.Tensor2D): void {
  const { seed, logprobs, sampling } = options;
  const rows = active.map((index) => {
    const { seen, ids } = sequences[index] as Sequence;
    return { seen, uniform: uniformAt(seed, index, ids.length) };
  });
  const chosen = sample(logits, rows, sampling);
  const scored = logprobs === undefined ? undefined : rowsOf(logits);
  active.forEach((index, row) => {
    const sequence = sequences[index] as Sequence;
    const id = chosen[row] as number;
    if (scored) sequence.placed.push(placeToken(scored[row] as Float32Array, id, logprobs ?? 0));
    sequence.push(id);
  });
}

/** Logits of the positions of ids from `from` on, [T - from, V]. */
function forward(
  model: Decoder,
  cache: KvCache,
  ids: readonly number[],
  from: number,
): tf.Tensor2D {
  return tf.tidy(() => {
    const hidden = model.forward([{ ids }], { cache });
    const [, tokens, size] = hidden.shape;
    const wanted = from === 0 ? hidden : tf.slice(hidden, [0, from, 0], [1, tokens - from, size]);
    return model.logits(tf.reshape(wanted, [tokens - from, size])) as tf.Tensor2D;
  });
}

/** The rows of a matrix as arrays. */
function rowsOf(matrix: tf.Tensor2D): Float32Array[] {
  const [count, width] = matrix.shape;
  const values = matrix.dataSync<'float32'>() as Float32Array;
  return Array.from({ length: count }, (_, i) => values.subarray(i * width, (i + 1) * width));
}

function lastRow(matrix: tf.Tensor2D): tf.Tensor2D {
  const [count, width] = matrix.shape;
  return count === 1 ? matrix.clone() : tf.slice(matrix, [count - 1, 0], [1, width]);
}
