import type { Arithmetic, Peaks } from '../measure/limits.js';
import { peakOf } from '../measure/limits.js';
import { type GgufWeights, headScheme, type Weights } from '../models/cache.js';
import { headSize, matmulWeights, type Shape } from '../models/shape.js';

/** Weights of llmkit, what they compute in, and the files that peers run for comparison. */
export interface Variant {
  readonly weights: Weights;
  readonly compute: Arithmetic;
  readonly gguf: readonly GgufWeights[];
  /** node-llama-cpp runs the Q4_0 file too. */
  readonly node: boolean;
}

/** The combinations that are measured, the most used first. */
export const VARIANTS: readonly Variant[] = [
  { weights: 'int4', compute: 'int8', gguf: ['Q4_0', 'Q4_K_M'], node: true },
  { weights: 'int4', compute: 'bf16', gguf: ['BF16'], node: false },
  { weights: 'nf4', compute: 'bf16', gguf: ['BF16', 'Q4_0'], node: false },
  { weights: 'bf16', compute: 'bf16', gguf: ['BF16'], node: false },
];

/** `int4 as int8`. */
export function variantName({ weights, compute }: Variant): string {
  return weights === compute ? weights : `${weights} as ${compute}`;
}

/** `2 threads`. */
export function threadsName(threads: number): string {
  return threads === 1 ? '1 thread' : `${threads} threads`;
}

/** Tokens per second that the arithmetic allows: a multiplication and an addition per weight. */
export function prefillLimit(shape: Shape, compute: Arithmetic) {
  return (peaks: Peaks) => (peakOf(peaks, compute) * 1e9) / (2 * matmulWeights(shape));
}

/** Tokens per second that reading so many bytes once for `sequences` tokens allows. */
export function decodeLimit(bytes: number, sequences = 1) {
  return (peaks: Peaks) => (sequences * peaks.read * 1e9) / bytes;
}

const CODE_BITS = { int4: 4, int8: 8, nf4: 4 } as const;
const SCALE_BITS = { int4: 16, int8: 16, nf4: 32 } as const;
const NF4_BLOCK = 64;

/** Bytes that a decoded token reads: every matrix once, codes and scales. */
export function bytesPerToken(shape: Shape, weights: Weights, groupSize: number): number {
  const all = matmulWeights(shape);
  if (weights === 'bf16') return 2 * all;
  const group = weights === 'nf4' ? NF4_BLOCK : groupSize;
  const bytes = (scheme: keyof typeof CODE_BITS, count: number) =>
    (count * (CODE_BITS[scheme] + SCALE_BITS[scheme] / group)) / 8;
  const head = shape.vocab * shape.hidden;
  return bytes(weights, all - head) + bytes(headScheme(shape, weights), head);
}

/** Bytes of keys and values, in bf16, that a token after so many others reads. */
export function cacheBytes(shape: Shape, tokens: number): number {
  const { layers, kvHeads } = shape;
  return 2 * 2 * layers * kvHeads * headSize(shape) * tokens;
}
