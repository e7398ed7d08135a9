import type { DecoderConfig } from './config.js';

const FLOAT_BYTES = 4;

/** Bytes of activations that a forward pass without gradients has at once, for each of its tokens. */
export function activationBytes(config: DecoderConfig): number {
  const { hiddenSize, numHeads, headSize, intermediateSize } = config;
  const width = Math.max(hiddenSize, numHeads * headSize);
  return FLOAT_BYTES * (8 * width + 3 * intermediateSize);
}
