import type { NestedScales } from '../tensor/weight.js';
import { blockMaxima } from './codebook.js';
import { floatSum } from './float-sum.js';

const BLOCK_SIZE = 256;
const EXPONENTS = 7;

/**
 * Stores the scales of 4-bit blocks in 8 bits: their mean is taken off and the rest goes, in blocks
 * of 256, to the nearest value of a map that is finer near zero.
 *
 * @see https://arxiv.org/abs/2305.14314 double quantization
 */
export function nestScales(scales: Float32Array): NestedScales {
  const offset = Math.fround(floatSum(scales) / scales.length);
  const centred = scales.map((scale) => scale - offset);
  const absmax = blockMaxima(centred, BLOCK_SIZE);
  const map = dynamicMap();
  const codes = nearestCodes(centred, absmax, map);
  return { codes, map, absmax, blockSize: BLOCK_SIZE, offset };
}

function nearestCodes(values: Float32Array, absmax: Float32Array, map: Float32Array): Uint8Array {
  const midpoints = map.map((value, i) =>
    i + 1 < map.length ? (value + (map[i + 1] ?? 0)) / 2 : Infinity,
  );
  const reciprocals = absmax.map((largest) => 1 / largest);
  return Uint8Array.from(values, (value, i) => {
    const largest = absmax[Math.floor(i / BLOCK_SIZE)] ?? 0;
    const reciprocal = reciprocals[Math.floor(i / BLOCK_SIZE)] ?? 0;
    const t = largest > 0 ? Math.fround(value * reciprocal) : 0;
    return lowerBound(midpoints, t);
  });
}

/** Index of the first entry that is not below t. */
function lowerBound(sorted: Float32Array, t: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (t > (sorted[middle] ?? Infinity)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The 256 values of bitsandbytes' signed dynamic map: seven powers of ten, each with twice as many
 * steps between 0.1 and 1 as the one below.
 *
 * @see https://arxiv.org/abs/1511.04561
 */
export function dynamicMap(): Float32Array {
  const values = [0, 1];
  for (let exponent = 0; exponent < EXPONENTS; exponent++) {
    const edges = linspace(0.1, 1, 2 ** exponent + 1);
    const power = Math.fround(10 ** (exponent - EXPONENTS + 1));
    for (let i = 0; i + 1 < edges.length; i++) {
      const mean = Math.fround(Math.fround((edges[i] ?? 0) + (edges[i + 1] ?? 0)) / 2);
      values.push(Math.fround(mean * power), -Math.fround(mean * power));
    }
  }
  return Float32Array.from(values).sort();
}

/** Evenly spaced float32 numbers, counted from the nearer end and rounded once, as torch.linspace. */
function linspace(start: number, end: number, count: number): number[] {
  const [first, last] = [Math.fround(start), Math.fround(end)];
  const step = Math.fround(Math.fround(last - first) / (count - 1));
  return Array.from({ length: count }, (_, i) =>
    Math.fround(i < Math.floor(count / 2) ? first + step * i : last - step * (count - 1 - i)),
  );
}
