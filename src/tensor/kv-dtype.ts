import { toBf16, toInt8Rows } from './rounded-operands.js';

/**
 * How a cache keeps keys and values, which are rounded once, when they are written. f32: as they are. bf16:
 * the nearest bf16. int8: each key and value of one head as whole numbers times largest magnitude / 127.
 */
export type KvDtype = 'f32' | 'bf16' | 'int8';

/** What `--kv-dtype` may say. */
export const KV_DTYPE_CHOICES = ['auto', 'f32', 'bf16', 'int8'] as const;
export type KvDtypeChoice = (typeof KV_DTYPE_CHOICES)[number];

/** What `auto` is: float32 where the model computes in float32, else bf16. */
export function kvDtypeOf(choice: KvDtypeChoice, computesInF32: boolean): KvDtype {
  if (choice !== 'auto') return choice;
  return computesInF32 ? 'f32' : 'bf16';
}

/** Bytes that a key or a value of one head takes. */
export function kvBytes(dtype: KvDtype, headSize: number): number {
  if (dtype === 'int8') return headSize + 4;
  return headSize * (dtype === 'f32' ? 4 : 2);
}

/** Keys or values [..., headSize] as a cache of this type keeps them. */
export function roundedKv(x: Float32Array, headSize: number, dtype: KvDtype): Float32Array {
  if (dtype === 'f32') return x;
  return dtype === 'bf16' ? toBf16(x) : toInt8Rows(x, headSize);
}
