import { LlmkitError } from '../errors.js';
import type { WeightData, WeightFormat } from '../tensor/weight.js';

const BYTES: Partial<Record<WeightFormat, number>> = { f32: 4, bf16: 2, f16: 2 };

/** [rows, cols] to [cols, rows]. */
export function transposeFloats(values: Float32Array, rows: number, cols: number): Float32Array {
  const transposed = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      transposed[col * rows + row] = values[row * cols + col] ?? 0;
    }
  }
  return transposed;
}

/** A dense matrix the other way round, in the same format. */
export function transposeBytes({ format, rows, cols, codes }: WeightData): WeightData {
  const width = BYTES[format];
  if (width === undefined) {
    throw new LlmkitError('unsupported', `transpose: ${format} matrices cannot be transposed`);
  }
  const transposed = new Uint8Array(codes.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const [from, to] = [(row * cols + col) * width, (col * rows + row) * width];
      for (let byte = 0; byte < width; byte++) transposed[to + byte] = codes[from + byte] ?? 0;
    }
  }
  return { format, rows: cols, cols: rows, codes: transposed };
}
