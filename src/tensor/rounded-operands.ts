import { decodeScales, dequantize, type Weight, type WeightData } from './weight.js';

/** Columns that share a scale in int8 at most: a longer group is cut, and its scale repeated. */
const MAX_GROUP = 128;

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
  const gradientWeight = () => toBf16(grouped(data) ? roundedValues(data) : dequantize(data));
  const product =
    compute === 'int8'
      ? { input: (x: Float32Array) => quantizeRows(x, data), weight: () => dequantize(data) }
      : { input: toBf16, weight: grouped(data) ? () => roundedValues(data) : gradientWeight };
  return { ...product, gradient: toBf16, gradientWeight };
}

const same = (values: Float32Array) => values;

/** Whether there are scales, and each belongs to one row; else values are rounded one by one. */
function grouped({ scales, cols, groupSize = cols }: WeightData): boolean {
  return scales !== undefined && cols % groupSize === 0;
}

/** Code values rounded to bf16, which changes those of tables only, times the float32 scales. */
function roundedValues(data: WeightData): Float32Array {
  const { cols, groupSize = cols } = data;
  const scales = decodeScales(data);
  const codes = toBf16(dequantize({ ...data, scales: new Float32Array(scales.length).fill(1) }));
  return codes.map((code, i) => code * (scales[Math.floor(i / groupSize)] ?? 0));
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

/** x [..., cols] as int8 codes times a scale per row and group: the largest magnitude becomes ±127. */
function quantizeRows(x: Float32Array, { cols, groupSize = cols }: WeightData): Float32Array {
  const rounded = new Float32Array(x.length);
  const width = Math.min(groupSize, MAX_GROUP);
  for (let row = 0; row < x.length; row += cols) {
    for (let start = 0; start < cols; start += width) {
      const end = Math.min(start + width, cols);
      quantizeGroup(x.subarray(row + start, row + end), rounded.subarray(row + start, row + end));
    }
  }
  return rounded;
}

function quantizeGroup(x: Float32Array, rounded: Float32Array): void {
  const scale = Math.fround(x.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127);
  const inverse = scale > 0 ? Math.fround(1 / scale) : 0;
  for (let i = 0; i < x.length; i++) {
    rounded[i] = nearestEven(Math.fround((x[i] ?? 0) * inverse)) * scale;
  }
}

/** The nearest whole number, ties to even; |x| is far below 2^52. */
function nearestEven(x: number): number {
  return x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;
}
