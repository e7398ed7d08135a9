import { LlmkitError } from '../errors.js';
import { decodeScales, dequantize, type WeightData } from '../tensor/weight.js';
import type { QuantMethod } from './methods/method.js';
import { nestScales } from './nested-scales.js';
import type { QuantScheme, SchemeOptions } from './schemes/scheme.js';

/** Weights that are in float32 at one time. */
const CHUNK = 1 << 22;

/** A matrix that is read by rows, so that it need never be in memory whole. */
export interface MatrixRows {
  /** For messages. */
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  /** @returns [rowEnd - rowStart, cols] in float32 */
  read(rowStart: number, rowEnd: number): Float32Array;
}

/** How a matrix is to be quantized. */
export interface MatrixOptions extends SchemeOptions {
  readonly scheme: QuantScheme;
  readonly method: QuantMethod;
}

/** Quantizes a matrix by rows; the same codes as of the whole matrix at once. */
export function quantizeMatrix(matrix: MatrixRows, options: MatrixOptions): WeightData {
  const { scheme, method, doubleQuant, ...rest } = options;
  const parts = chunks(matrix, rest.groupSize).map(([start, end]) => {
    const values = matrix.read(start, end);
    checkFinite(values, matrix.name);
    return method(scheme, values, [end - start, matrix.cols], rest);
  });
  const joined = joinRows(parts, matrix.rows);
  const { scales } = joined;
  if (!doubleQuant || !(scales instanceof Float32Array)) return joined;
  return { ...joined, scales: nestScales(scales) };
}

/** Frobenius norm of what quantization changed, as a part of the norm of the whole. */
export function relativeError(matrix: MatrixRows, data: WeightData): number {
  const plain = { ...data, scales: decodeScales(data) };
  let [error, norm] = [0, 0];
  for (const [start, end] of chunks(matrix, data.groupSize ?? matrix.cols)) {
    const before = matrix.read(start, end);
    const after = dequantize(plain, start, end);
    for (let i = 0; i < before.length; i++) {
      const value = before[i] as number;
      const difference = value - (after[i] as number);
      error += difference * difference;
      norm += value * value;
    }
  }
  return norm === 0 ? 0 : Math.sqrt(error / norm);
}

/** Row ranges that end where a group and a byte of codes end. */
function chunks({ rows, cols }: MatrixRows, groupSize: number): [start: number, end: number][] {
  const whole = leastCommonMultiple(groupSize, 2);
  const unit = leastCommonMultiple(cols, whole) / cols;
  const step = unit * Math.max(1, Math.floor(CHUNK / (cols * unit)));
  const ranges: [number, number][] = [];
  for (let start = 0; start < rows; start += step) {
    ranges.push([start, Math.min(start + step, rows)]);
  }
  return ranges;
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

function joinRows(parts: readonly WeightData[], rows: number): WeightData {
  const [first] = parts;
  if (first === undefined) throw new LlmkitError('shape', 'quantize: the matrix has no rows');
  if (parts.length === 1) return first;
  const codes = joinBytes(parts.map((part) => part.codes));
  const scales = new Float32Array(
    joinBytes(parts.map(({ scales }) => bytesOf(scales as Float32Array))).buffer,
  );
  const joined = { ...first, rows, codes, scales };
  return first.zeros
    ? { ...joined, zeros: joinBytes(parts.map(({ zeros }) => zeros ?? codes)) }
    : joined;
}

function joinBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function checkFinite(values: Float32Array, name: string): void {
  // x - x is NaN where x is not finite, else 0.
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] as number) - (values[i] as number);
  if (sum === 0) return;
  throw new LlmkitError('checkpoint', `${name}: holds a value that is not finite`);
}
