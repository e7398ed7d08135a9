import { activationBytes } from '../model/activation-bytes.js';
import type { DecoderConfig } from '../model/config.js';
import type { KvCache } from '../model/kv-cache.js';
import { deviceMemory, isOutOfDeviceMemory } from '../tensor/backends/device-memory.js';
import type { KvDtype } from '../tensor/kv-dtype.js';

/** Tokens of a prompt per forward pass, at least: bounds memory, and a signal is heard between two. */
export const PASS_TOKENS = 256;
/** The most on the host, and the bytes of activations they may take: what is large takes its time too. */
const MOST_HOST_TOKENS = 512;
const MOST_HOST_BYTES = 80 * 2 ** 20;
/** The most on a GPU, whose products are at their best with thousands of rows. */
const MOST_PASS_TOKENS = 2048;
/** A pass takes no more than this part of the memory that is free: keys and values want some as well. */
const PART_OF_FREE = 1 / 4;
const BF16_BYTES = 2;

/** A prompt, and what the cache keeps its keys and values in. */
export interface PromptSizes {
  readonly tokens: number;
  readonly kvDtype: KvDtype | undefined;
}

/**
 * Tokens of a prompt per forward pass that is wanted for the logits after it: as many as the device has the memory
 * for. Where the prompt is cut changes no result.
 */
export function passTokens(config: DecoderConfig, prompt: PromptSizes): number {
  const memory = deviceMemory();
  if (memory === undefined) return tokensIn(MOST_HOST_BYTES, config, MOST_HOST_TOKENS);
  const room = memory.freeBytes() * PART_OF_FREE - copiedBytes(config, prompt);
  return tokensIn(room, config, MOST_PASS_TOKENS);
}

/** Whole PASS_TOKENS whose activations take so many bytes, and no more than `most`. */
function tokensIn(bytes: number, config: DecoderConfig, most: number): number {
  const fit = Math.floor(bytes / activationBytes(config) / PASS_TOKENS) * PASS_TOKENS;
  return Math.min(Math.max(fit, PASS_TOKENS), most);
}

/** Attention reads keys and values of one layer as bf16: copies of them where the cache keeps something else. */
function copiedBytes({ numKvHeads, headSize }: DecoderConfig, prompt: PromptSizes): number {
  if (prompt.kvDtype === 'bf16') return 0;
  return 2 * BF16_BYTES * numKvHeads * headSize * prompt.tokens;
}

/**
 * Runs a pass of a prompt: of fewer tokens where the device turns out to have no memory for so many, and the cache has
 * counted none of them.
 *
 * @param tokens of the pass at most
 * @param pass computes so many tokens, which end up in the cache
 * @returns how many tokens it was, and what it gave
 */
export function runPass<T>(
  cache: KvCache,
  tokens: number,
  pass: (tokens: number) => T,
): { tokens: number; result: T } {
  const held = cache.lengths[0];
  for (let length = tokens; ; length = halfOf(length)) {
    try {
      return { tokens: length, result: pass(length) };
    } catch (error) {
      const goesOn = isOutOfDeviceMemory(error) && cache.lengths[0] === held;
      if (!goesOn || length <= PASS_TOKENS) throw error;
    }
  }
}

function halfOf(tokens: number): number {
  return Math.max(Math.floor(tokens / 2 / PASS_TOKENS), 1) * PASS_TOKENS;
}
