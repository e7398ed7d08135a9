import type { DecoderConfig } from './config.js';

const FLOAT_BYTES = 4;

/** Bytes of activations that a forward pass without gradients has at once, for each of its tokens. */
export function activationBytes({ hiddenSize: D, intermediateSize: F }: DecoderConfig): number {
  return FLOAT_BYTES * (8 * D + 3 * F);
}
