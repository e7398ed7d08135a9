import { readFileSync } from 'node:fs';
import { toDtype } from '../../../src/checkpoint/writer.js';
import { dequantize } from '../../../src/tensor/weight.js';
import { sharedData } from '../../helpers/shared-data.js';

/** One tensor of golden/formats.json. */
export interface GoldenTensor {
  readonly dtype: string;
  readonly shape: number[];
  readonly hex: string;
}

/** golden/formats.json, by case and tensor, or undefined where the shared data is absent. */
export function goldenFormats(): Record<string, Record<string, GoldenTensor>> | undefined {
  const path = sharedData('golden', 'formats.json');
  return path === undefined ? undefined : JSON.parse(readFileSync(path, 'utf8'));
}

/** The [8, 64] matrix that every golden case quantizes; exact in float32. */
export function goldenInput(dtype: 'float32' | 'bfloat16' = 'float32'): Float32Array {
  let x = 1;
  const values = Float32Array.from({ length: 512 }, () => {
    let sum = 0;
    for (let i = 0; i < 4; i++) {
      x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
      sum += x >>> 12;
    }
    return (sum - 2 ** 21) / 2 ** 20 / 16;
  });
  if (dtype === 'float32') return values;
  const codes = toDtype(values, 'BF16');
  return dequantize({ format: 'bf16', rows: 8, cols: 64, codes });
}

/** The bytes of a typed array as hex. */
export function hex(array: ArrayBufferView): string {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('hex');
}
