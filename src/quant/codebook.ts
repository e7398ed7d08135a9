import { LlmkitError } from '../errors.js';

const CELLS = 1024;

/** Sixteen values in [-1, 1] that a 4-bit code stands for, with tables for a quick nearest search. */
export interface Codebook {
  /** Half of the widest gap between neighbours: the largest rounding error. */
  readonly maxError: number;
  /** The code of 0. */
  readonly zeroCode: number;
  /** In ascending order. */
  readonly values: Float32Array;
  /** Code of the i-th smallest value. */
  readonly codes: Uint8Array;
  /** midpoints[i] lies between the i-th and the next value; the last is infinite. */
  readonly midpoints: Float32Array;
  /** Rank of the nearest value at the lower edge of each of 1024 cells of [-1, 1]. */
  readonly firstRank: Uint8Array;
}

/**
 * Prepares a codebook for the search: a cell holds at most one midpoint.
 *
 * @param table the value of each code
 */
export function codebook(table: ArrayLike<number>): Codebook {
  const sorted = Array.from(table, (value, code) => ({ value, code })).sort(
    // FP4 has two zeros: bitsandbytes puts code 0 below code 8.
    (a, b) => a.value - b.value || a.code - b.code,
  );
  const midpoints = new Float32Array(sorted.length).fill(Infinity);
  for (let i = 0; i + 1 < sorted.length; i++) {
    midpoints[i] = Math.fround((sorted[i]?.value ?? 0) + (sorted[i + 1]?.value ?? 0)) / 2;
  }
  const firstRank = Uint8Array.from({ length: CELLS + 1 }, (_, cell) => {
    const edge = (2 * cell) / CELLS - 1;
    return midpoints.findIndex((midpoint) => !(edge > midpoint));
  });
  const gaps = sorted.slice(1).map(({ value }, i) => value - (sorted[i]?.value ?? 0));
  return {
    maxError: Math.max(...gaps) / 2,
    zeroCode: sorted.find(({ value }) => value === 0)?.code ?? 0,
    values: Float32Array.from(sorted, ({ value }) => value),
    codes: Uint8Array.from(sorted, ({ code }) => code),
    midpoints,
    firstRank,
  };
}

/** Largest magnitude of each block of the flattened values; the last block may be shorter. */
export function blockMaxima(values: Float32Array, blockSize: number): Float32Array {
  const maxima = new Float32Array(Math.ceil(values.length / blockSize));
  for (let block = 0, start = 0; block < maxima.length; block++, start += blockSize) {
    const end = Math.min(start + blockSize, values.length);
    let largest = 0;
    for (let i = start; i < end; i++) {
      const magnitude = Math.abs(values[i] as number);
      if (magnitude > largest) largest = magnitude;
    }
    maxima[block] = largest;
  }
  return maxima;
}

/** Rank of the value nearest to t; of two equally near, that of the lower. */
export function nearestRank(t: number, { midpoints, firstRank }: Codebook): number {
  const cell = ((t + 1) * (CELLS / 2)) | 0;
  const rank = firstRank[Math.max(0, Math.min(cell, CELLS))] as number;
  return t > (midpoints[rank] as number) ? rank + 1 : rank;
}

/**
 * Nearest codes of blocks divided by their scales, two per byte, the first in the high nibble. As
 * bitsandbytes: multiplies by the reciprocal in float32, and of two values equally near takes the
 * lower.
 *
 * @param scales one per block: those of blockMaxima bring all values to [-1, 1]
 */
export function codesOfBlocks(
  values: Float32Array,
  scales: Float32Array,
  { book, blockSize }: { readonly book: Codebook; readonly blockSize: number },
): Uint8Array {
  if (blockSize % 2 !== 0) {
    throw new LlmkitError('shape', `quantize: block size must be even, got ${blockSize}`);
  }
  const packed = new Uint8Array(Math.ceil(values.length / 2));
  const { codes, zeroCode } = book;
  for (let block = 0, start = 0; block < scales.length; block++, start += blockSize) {
    const end = Math.min(start + blockSize, values.length);
    const reciprocal = Math.fround(1 / (scales[block] as number));
    // A block of zeros, or of numbers too small to have a reciprocal in float32.
    if (reciprocal === Infinity) {
      packed.fill((zeroCode << 4) | zeroCode, start / 2, Math.ceil(end / 2));
      continue;
    }
    for (let i = start; i < end; i++) {
      const t = Math.fround((values[i] as number) * reciprocal);
      const code = codes[nearestRank(t, book)] as number;
      packed[i >> 1] = i & 1 ? (packed[i >> 1] as number) | code : code << 4;
    }
  }
  // The half byte after an odd number of codes stands for 0.
  if (values.length % 2 === 1) packed[packed.length - 1] = (packed.at(-1) as number) | zeroCode;
  return packed;
}
