import type { WeightData } from '../tensor/weight.js';
import { blockMaxima } from './codebook.js';
import type { Grid, QuantScheme, SchemeOptions, StoredDtype } from './schemes/scheme.js';
import { roundToDtype } from './stored-dtype.js';

/** 1.5 · 2^23: adding and taking it off rounds a float32 to the nearest integer, ties to even. */
const ROUNDER = 12582912;
/** Scale of a group of zeros, so that nothing is divided by zero. */
const SMALLEST_SCALE = 2 ** -23;

/**
 * A scheme of compressed-tensors' `pack-quantized` layout: value = (code - zero) · scale, groups
 * along a row. The scale is rounded to the stored dtype before the codes are chosen.
 */
export function integerScheme(
  format: 'int4' | 'int8',
  defaultGroupSizes: readonly (number | 'row')[],
): QuantScheme {
  const bits = format === 'int4' ? 4 : 8;
  const half = 2 ** (bits - 1);
  return {
    format,
    bits,
    layout: 'compressed-tensors',
    defaultGroupSizes,
    groupsCrossRows: false,
    allowedGroupSizes: { smallest: 1, largest: Number.MAX_SAFE_INTEGER },
    supports: { doubleQuant: false, asymmetric: true },
    maxError: 1 / (2 ** bits - 1),

    levels: {
      codes: 2 * half,
      zeroCode: half,
      steps: (value, scale) => Math.fround(value / scale),
      nearest: (steps, zero) => nearestInteger(steps, zero - half, half) - (zero - half),
      stored: storedScales,
    },

    grid: (values, options) =>
      options.asymmetric
        ? asymmetricGrid(values, bits, options)
        : symmetricGrid(values, bits, options),

    encode(values, [rows, cols], { scales, zeros }, { groupSize }) {
      const codes = codesOfGroups(values, scales, { half, groupSize, zeros });
      const packed = bits === 4 ? packNibbles(codes) : codes;
      const data: WeightData = { format, rows, cols, codes: packed, groupSize, scales };
      return zeros ? { ...data, zeros } : data;
    },
  };
}

function symmetricGrid(values: Float32Array, bits: number, options: SchemeOptions): Grid {
  const halfRange = (2 ** bits - 1) / 2;
  const steps = blockMaxima(values, options.groupSize);
  for (let group = 0; group < steps.length; group++)
    steps[group] = (steps[group] as number) / halfRange;
  return { scales: storedScales(steps, options.dtype) };
}

function asymmetricGrid(values: Float32Array, bits: number, options: SchemeOptions): Grid {
  const { groupSize, dtype } = options;
  const lows = new Float32Array(values.length / groupSize);
  const steps = new Float32Array(lows.length);
  for (let group = 0, start = 0; group < lows.length; group++, start += groupSize) {
    let [low, high] = [0, 0];
    for (let i = start; i < start + groupSize; i++) {
      const value = values[i] as number;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    lows[group] = low;
    steps[group] = Math.fround(high - low) / (2 ** bits - 1);
  }
  const scales = storedScales(steps, dtype);
  const zeros = Uint8Array.from(lows, (low, group) => zeroPoint(low / (scales[group] ?? 1), bits));
  return { scales, zeros };
}

/** The scales as the file will hold them; never 0, so that nothing is divided by it. */
function storedScales(scales: Float32Array, dtype: StoredDtype): Float32Array {
  return roundToDtype(scales, dtype).map((scale) => scale || SMALLEST_SCALE);
}

/** The code of 0: computed on the signed range, as the layout's owner does, then shifted up. */
function zeroPoint(lowestStep: number, bits: number): number {
  const half = 2 ** (bits - 1);
  const zero = Math.max(-half, Math.min(half - 1, Math.fround(-half - Math.fround(lowestStep))));
  return Math.fround(Math.fround(zero + ROUNDER) - ROUNDER) + half;
}

interface CodeOptions {
  readonly half: number;
  readonly groupSize: number;
  readonly zeros: Uint8Array | undefined;
}

/** One code per value: round(w / scale + zero) on the signed range, shifted up. */
function codesOfGroups(
  values: Float32Array,
  scales: Float32Array,
  { half, groupSize, zeros }: CodeOptions,
): Uint8Array {
  const codes = new Uint8Array(values.length);
  for (let group = 0, start = 0; group < scales.length; group++, start += groupSize) {
    const scale = scales[group] as number;
    const zero = zeros ? (zeros[group] as number) - half : 0;
    for (let i = start; i < start + groupSize; i++) {
      const steps = Math.fround((values[i] as number) / scale);
      codes[i] = nearestInteger(steps, zero, half) + half;
    }
  }
  return codes;
}

/** round(steps + zero) within -half … half - 1, ties to even. */
function nearestInteger(steps: number, zero: number, half: number): number {
  let shifted = Math.fround(steps + zero);
  if (shifted < -half) shifted = -half;
  if (shifted > half - 1) shifted = half - 1;
  return Math.fround(Math.fround(shifted + ROUNDER) - ROUNDER);
}

/** Two codes per byte, the first in the low nibble. */
function packNibbles(codes: Uint8Array): Uint8Array {
  const packed = new Uint8Array(Math.ceil(codes.length / 2));
  for (let i = 0; i < packed.length; i++) {
    packed[i] = (codes[2 * i] as number) | ((codes[2 * i + 1] ?? 0) << 4);
  }
  return packed;
}
