import { toDtype } from '../checkpoint/writer.js';
import { dequantize } from '../tensor/weight.js';
import type { StoredDtype } from './schemes/scheme.js';

const FORMATS = { F16: 'f16', BF16: 'bf16' } as const;

/** The values as a file of the dtype gives them back: rounded to the nearest, ties to even. */
export function roundToDtype(values: Float32Array, dtype: StoredDtype): Float32Array {
  if (dtype === 'F32') return values;
  const codes = toDtype(values, dtype);
  return dequantize({ format: FORMATS[dtype], rows: 1, cols: values.length, codes });
}
