import { LlmkitError } from '../../errors.js';
import type { WeightData } from '../../tensor/weight.js';
import { asFloat32 } from '../dtype.js';
import { findTensor, type TensorSource } from '../safetensors.js';

/** How a quantization method lays its matrices out in safetensors files. */
export interface QuantizedLayout {
  /** quant_method of config.json. */
  readonly method: string;
  /** Modules that are stored quantized, found by their tensors' names. */
  modules(tensorNames: Iterable<string>): string[];
  /** The matrix [out, in] of one of these modules, also where the dense file layout is transposed (Conv1D). */
  matrix(module: string, source: TensorSource): WeightData;
}

/** A quantization method: reads config.json's quantization_config, or refuses an option it cannot honour. */
export interface QuantizationFormat {
  readonly method: string;
  /** @param where the place of the options, for messages */
  layout(options: Readonly<Record<string, unknown>>, where: string): QuantizedLayout;
}

/** Stored scales as float32: a view where they are that already. */
export function scalesOf(source: TensorSource, name: string): Float32Array {
  const { dtype } = findTensor(source.tensors, name, 'checkpoint');
  return dtype === 'F32' ? asFloat32(source.bytes(name)) : source.floats(name);
}

/** Throws unless a stored vector or matrix has the expected number of elements. */
export function expectLength(name: string, expected: number, got: number): void {
  if (expected === got) return;
  throw new LlmkitError('checkpoint', `${name}: expected ${expected} elements, got ${got}`);
}

/** Signed bytes as offset binary (q + 128), which WeightData's int8 codes are. */
export function toOffsetBinary(signed: Uint8Array): Uint8Array {
  const codes = new Uint8Array(signed.length);
  for (let i = 0; i < codes.length; i++) codes[i] = (signed[i] as number) ^ 0x80;
  return codes;
}
