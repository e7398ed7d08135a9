import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Dtype, toFloats } from '../../../../src/checkpoint/dtype.js';
import type { StoredTensor, TensorSource } from '../../../../src/checkpoint/safetensors.js';
import type { NamedTensor } from '../../../../src/checkpoint/writer.js';
import { sharedData } from '../../../helpers/shared-data.js';

/** Golden bytes as formats.json holds them. */
export interface GoldenTensor {
  readonly dtype: 'float32' | 'bfloat16' | 'uint8' | 'int8' | 'int32' | 'int64';
  readonly shape: number[];
  readonly hex: string;
  readonly sha256: string;
}

const DTYPES: Readonly<Record<GoldenTensor['dtype'], Dtype>> = {
  float32: 'F32',
  bfloat16: 'BF16',
  uint8: 'U8',
  int8: 'I8',
  int32: 'I32',
  int64: 'I64',
};

/** Cases of golden/formats.json, or undefined where it is absent. */
export function goldenFormats(): Record<string, Record<string, GoldenTensor>> | undefined {
  const path = sharedData('golden', 'formats.json');
  return path === undefined ? undefined : JSON.parse(readFileSync(path, 'utf8'));
}

/** A golden tensor under a name; its bytes are checked against their digest. */
export function goldenTensor(
  name: string,
  { dtype, shape, hex, sha256 }: GoldenTensor,
): NamedTensor {
  const bytes = new Uint8Array(Buffer.from(hex, 'hex'));
  const digest = createHash('sha256').update(bytes).digest('hex');
  if (!digest.startsWith(sha256)) throw new Error(`${name}: the golden bytes are not whole`);
  return { name, dtype: DTYPES[dtype], shape, bytes };
}

/** Tensors in memory, read as from a file. */
export function sourceOf(tensors: readonly NamedTensor[]): TensorSource {
  const stored = new Map<string, StoredTensor>();
  const bytes = new Map<string, Uint8Array>();
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    bytes.set(name, tensor.bytes);
    stored.set(name, {
      name,
      dtype,
      shape,
      sizeBytes: tensor.bytes.length,
      file: 'memory',
      offset: 0,
    });
  }
  const find = (name: string) => {
    const found = bytes.get(name);
    if (found) return found;
    throw new Error(`expected a tensor named ${name}`);
  };
  return {
    tensors: stored,
    bytes: find,
    floats: (name) => toFloats(find(name), (stored.get(name) as StoredTensor).dtype),
  };
}
