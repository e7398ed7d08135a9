import { activationBytes } from '../model/activation-bytes.js';
import type { DecoderConfig } from '../model/config.js';
import { deviceMemory } from '../tensor/backends/device-memory.js';

/** Tokens of a prompt per forward pass: bounds memory, and a signal is heard between two. */
export const PASS_TOKENS = 256;
/** The most on a GPU, whose products are at their best with thousands of rows. */
const MOST_PASS_TOKENS = 2048;
/** A pass takes no more than this part of the memory that is free: keys and values want some as well. */
const PART_OF_FREE = 1 / 4;

/**
 * Tokens of a prompt per forward pass that is wanted for the logits after it: as many as the device has the memory
 * for. Where the prompt is cut changes no result.
 */
export function passTokens(config: DecoderConfig): number {
  const memory = deviceMemory();
  if (memory === undefined) return PASS_TOKENS;
  const fit = (memory.freeBytes() * PART_OF_FREE) / activationBytes(config);
  const whole = Math.floor(fit / PASS_TOKENS) * PASS_TOKENS;
  return Math.min(Math.max(whole, PASS_TOKENS), MOST_PASS_TOKENS);
}
