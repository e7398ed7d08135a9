import { LlmkitError } from '../errors.js';
import type { Dtype } from './dtype.js';

/** Where a tensor lies and what it holds. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly sizeBytes: number;
  readonly file: string;
  /** Of its first byte, from the start of the file. */
  readonly offset: number;
}

/** Tensors by name, read when they are asked for. */
export interface TensorSource {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Raw bytes, a view valid until close(). */
  bytes(name: string): Uint8Array;
  /** Values as a new float32 array. */
  floats(name: string): Float32Array;
}

/** One open safetensors file. */
export interface SafetensorsFile extends TensorSource {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  close(): void;
}

/** Opens one safetensors file; its header is checked whole before anything is read by it. */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  throw new LlmkitError('unsupported', `readSafetensors: not written yet (${path})`);
}
