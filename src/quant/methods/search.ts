import { blockMaxima } from '../codebook.js';
import type { Grid, Levels, SchemeOptions } from '../schemes/scheme.js';
import type { QuantMethod } from './method.js';

/** kernels/cpu/quantize/candidates.h says what is searched; these are its constants. */
const ROUNDS = 2;
const FACTORS = Float32Array.from({ length: 16 }, (_, i) => (120 + i * i) / 128);
const ZERO_SHIFTS = [-1, 0, 1];
const [SMALLEST, LARGEST] = [2 ** -40, 2 ** 40];
/** Of a round's sums: element i goes to lane i % 16, as kernels/README.md says. */
const LANES = 16;

/**
 * Looks for the scale, and zero point, of every group that leaves the least squared error; round to nearest
 * where none is better. The bytes that the native kernels write.
 */
export const search: QuantMethod = (scheme, values, shape, options) => {
  const nearest = scheme.grid(values, options);
  const groups = { values, size: options.groupSize, levels: scheme.levels };
  const grid = searchedGrid(groups, nearest, options);
  return scheme.encode(values, shape, grid, options);
};

/** A matrix in groups. */
interface Groups {
  readonly values: Float32Array;
  readonly size: number;
  readonly levels: Levels;
}

function searchedGrid(groups: Groups, nearest: Grid, { dtype }: SchemeOptions): Grid {
  const best = copyOf(nearest);
  const next = bestCandidates(groups, nearest);
  const least = fitsOf(groups, nearest).errors;
  const magnitudes = blockMaxima(groups.values, groups.size);
  for (let round = 0; round < ROUNDS; round++) {
    next.scales.set(groups.levels.stored(next.scales, dtype));
    const { errors, products, squares } = fitsOf(groups, next);
    for (let group = 0; group < least.length; group++) {
      const magnitude = magnitudes[group] as number;
      const searched = magnitude >= SMALLEST && magnitude <= LARGEST;
      if (searched && (errors[group] as number) < (least[group] as number)) {
        least[group] = errors[group] as number;
        copyGroup(next, best, group);
      }
      const square = squares[group] as number;
      if (square > 0) next.scales[group] = (products[group] as number) / square;
    }
  }
  return best;
}

function copyOf({ scales, zeros }: Grid): Grid {
  return { scales: scales.slice(), ...(zeros && { zeros: zeros.slice() }) };
}

function copyGroup(from: Grid, to: Grid, group: number): void {
  to.scales[group] = from.scales[group] as number;
  if (to.zeros && from.zeros) to.zeros[group] = from.zeros[group] as number;
}

/** Of each group: the best scale for the codes of its best candidate. */
function bestCandidates(groups: Groups, nearest: Grid): Grid {
  const { values, size, levels } = groups;
  const best = copyOf(nearest);
  for (let group = 0; group < nearest.scales.length; group++) {
    const x = values.subarray(group * size, (group + 1) * size);
    const reciprocal = Math.fround(1 / (nearest.scales[group] as number));
    let most = 0;
    for (const zero of zerosBeside(nearest.zeros?.[group], levels)) {
      for (const factor of FACTORS) {
        const { product, square } = candidate(x, Math.fround(reciprocal * factor), zero, levels);
        const scale = Math.fround(product / square);
        const gain = Math.fround(product * scale);
        if (!(gain > most)) continue;
        most = gain;
        best.scales[group] = scale;
        if (best.zeros) best.zeros[group] = zero;
      }
    }
  }
  return best;
}

/** @param zero undefined: the groups have none */
function zerosBeside(zero: number | undefined, { codes, zeroCode }: Levels): readonly number[] {
  if (zero === undefined) return [zeroCode];
  return ZERO_SHIFTS.map((shift) => Math.max(0, Math.min(codes - 1, zero + shift)));
}

/** Sums over a group x, in levels l: x · l and l · l, the elements in order. */
function candidate(
  x: Float32Array,
  factor: number,
  zero: number,
  levels: Levels,
): { readonly product: number; readonly square: number } {
  let [product, square] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const value = x[i] as number;
    const level = levels.nearest(Math.fround(value * factor), zero);
    product = Math.fround(product + Math.fround(value * level));
    square = Math.fround(square + Math.fround(level * level));
  }
  return { product, square };
}

/** Of each group, in levels l of its scale s: the sums of (x − l · s)², x · l and l · l. */
interface Fits {
  readonly errors: Float32Array;
  readonly products: Float32Array;
  readonly squares: Float32Array;
}

function fitsOf({ values, size, levels }: Groups, { scales, zeros }: Grid): Fits {
  const [errors, products, squares] = [scales.slice(), scales.slice(), scales.slice()];
  for (let group = 0; group < scales.length; group++) {
    const [scale, zero] = [scales[group] as number, zeros?.[group] ?? levels.zeroCode];
    const sums = [
      new Float32Array(LANES),
      new Float32Array(LANES),
      new Float32Array(LANES),
    ] as const;
    const end = Math.min((group + 1) * size, values.length);
    for (let at = group * size, i = 0; at < end; at++, i++) {
      const value = values[at] as number;
      const level = levels.nearest(levels.steps(value, scale), zero);
      const error = Math.fround(value - Math.fround(level * scale));
      addTo(sums[0], i, error * error);
      addTo(sums[1], i, value * level);
      addTo(sums[2], i, level * level);
    }
    errors[group] = sumOf(sums[0]);
    products[group] = sumOf(sums[1]);
    squares[group] = sumOf(sums[2]);
  }
  return { errors, products, squares };
}

/** Adds a product, rounded, to the lane of element i. */
function addTo(lanes: Float32Array, i: number, product: number): void {
  const lane = i % LANES;
  lanes[lane] = (lanes[lane] as number) + Math.fround(product);
}

/** Lanes i and i + 8, then 4, 2 and 1 apart. */
function sumOf(lanes: Float32Array): number {
  for (let half = LANES / 2; half >= 1; half /= 2) {
    for (let i = 0; i < half; i++) {
      lanes[i] = (lanes[i] as number) + (lanes[i + half] as number);
    }
  }
  return lanes[0] as number;
}
