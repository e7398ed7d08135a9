import { isBf16 } from './compute.js';
import * as tf from './tfjs.js';
import { decodeScales, dequantize, type Weight, type WeightData } from './weight.js';

/** Columns of a group, and of a piece that a longer one is cut into. */
const MIN_GROUP = 8;
const MAX_GROUP = 128;
const MIN_PIECE = 32;
/** Magnitudes below it count as zero in int8: 127 divided by them overflows. */
const MIN_MAGNITUDE = 2 ** -120;

/**
 * The operands of products with a frozen weight as its compute type rounds them, in plain TypeScript: with
 * them the exact product is what every kernel of that type approximates.
 */
export interface RoundedOperands {
  /** x [..., cols] of the product. */
  input(x: Float32Array): Float32Array;
  /** The weight [rows, cols] of the product. */
  weight(): Float32Array;
  /** dy [..., rows] of the gradient. */
  gradient(dy: Float32Array): Float32Array;
  /** The weight [rows, cols] of the gradient. */
  gradientWeight(): Float32Array;
}

/** How a weight's compute type rounds. */
export function roundedOperands({ data, compute }: Weight): RoundedOperands {
  if (compute === 'f32') {
    const exact = () => dequantize(data);
    return { input: same, weight: exact, gradient: same, gradientWeight: exact };
  }
  const dequantized = () => toBf16(dequantize(data));
  if (compute === 'bf16-dequantized') {
    return { input: toBf16, weight: dequantized, gradient: toBf16, gradientWeight: dequantized };
  }
  const group = groupOf(data);
  const weight = group > 0 ? () => roundedValues(data) : dequantized;
  const gradients = { gradient: toBf16, gradientWeight: () => toBf16(weight()) };
  if (isBf16(compute) || group === 0) return { input: toBf16, weight, ...gradients };
  const input = (x: Float32Array) => quantizeRows(x, data.cols, group);
  return { input, weight: () => dequantize(data), ...gradients };
}

const same = (values: Float32Array) => values;

/**
 * Columns of a row that are summed before their scale is applied: a stored group, or an even piece of a long
 * one. 0 where values are rounded one by one: without scales, or with groups that do not begin at rows, are
 * tiny or have no even pieces.
 */
function groupOf({ scales, cols, groupSize = cols }: WeightData): number {
  if (scales === undefined || cols % groupSize !== 0) return 0;
  if (groupSize <= MAX_GROUP) return groupSize < MIN_GROUP ? 0 : groupSize;
  if (groupSize === cols) return MAX_GROUP;
  let piece = MAX_GROUP;
  while (groupSize % piece !== 0) piece--;
  return piece < MIN_PIECE ? 0 : piece;
}

/** Code values rounded to bf16, which changes those of tables only, times the float32 scales. */
function roundedValues(data: WeightData): Float32Array {
  const { cols, groupSize = cols } = data;
  const scales = decodeScales(data);
  const codes = toBf16(dequantize({ ...data, scales: new Float32Array(scales.length).fill(1) }));
  return codes.map((code, i) => code * (scales[Math.floor(i / groupSize)] ?? 0));
}

/** A tensor of the nearest bf16 values. */
export function roundToBf16<T extends tf.Tensor>(x: T): T {
  return tf.tensor(toBf16(x.dataSync() as Float32Array), x.shape) as T;
}

/** The nearest bf16 values, ties to even. */
export function toBf16(values: Float32Array): Float32Array {
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i] as number;
    // Of no number, a carry could make an infinity.
    const isNumber = (value & 0x7fffffff) <= 0x7f800000;
    bits[i] = (isNumber ? value + 0x7fff + ((value >>> 16) & 1) : value | 0x400000) & 0xffff0000;
  }
  return new Float32Array(bits.buffer);
}

/** Rows [..., cols] as int8 codes times a scale each; a row with no number becomes NaN. */
export function toInt8Rows(x: Float32Array, cols: number): Float32Array {
  return quantizeRows(x, cols, cols);
}

/** x [..., cols] as int8 codes times a scale per row and group: the largest magnitude becomes ±127. */
function quantizeRows(x: Float32Array, cols: number, group: number): Float32Array {
  const rounded = new Float32Array(x.length);
  for (let row = 0; row < x.length; row += cols) {
    for (let start = 0; start < cols; start += group) {
      const end = Math.min(start + group, cols);
      quantizeGroup(x.subarray(row + start, row + end), rounded.subarray(row + start, row + end));
    }
  }
  return rounded;
}

function quantizeGroup(x: Float32Array, rounded: Float32Array): void {
  const most = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (most < MIN_MAGNITUDE) return;
  const [inverse, scale] = [Math.fround(127 / most), Math.fround(most / 127)];
  for (let i = 0; i < x.length; i++) {
    rounded[i] = nearestEven(Math.fround((x[i] ?? 0) * inverse)) * scale;
  }
}

/** The nearest whole number, ties to even; |x| is far below 2^51. */
function nearestEven(x: number): number {
  return x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;
}
