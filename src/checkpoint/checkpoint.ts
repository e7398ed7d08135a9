import { LlmkitError } from '../errors.js';
import type { WeightData } from '../tensor/weight.js';
import type { TensorSource } from './safetensors.js';

export type { Dtype } from './dtype.js';
export type { SafetensorsFile, StoredTensor, TensorSource } from './safetensors.js';
export { readSafetensors } from './safetensors.js';

/** A model's config.json. */
export type HfConfig = Readonly<Record<string, unknown>> & { readonly model_type?: string };

/** An open Hugging Face checkpoint folder. */
export interface Checkpoint extends TensorSource {
  readonly folder: string;
  readonly config: HfConfig;
  /** Names of the modules that are stored quantized. */
  readonly quantized: ReadonlySet<string>;
  /** The matrix of a module (`<module>.weight`) in its stored format: dense, or as config.json's quantization_config says. */
  matrix(module: string): WeightData;
  close(): void;
}

/** Opens a checkpoint folder: config.json and safetensors files, one or sharded. */
export async function openCheckpoint(folder: string): Promise<Checkpoint> {
  throw new LlmkitError('unsupported', `openCheckpoint: not written yet (${folder})`);
}
