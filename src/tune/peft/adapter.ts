import { LlmkitError } from '../../errors.js';
import type { Decoder } from '../../model/decoder.js';
import type { Variable } from '../../tensor/tfjs.js';
import type { LoraConfig } from './lora-config.js';

/** An adapter attached to a model. */
export interface Adapter {
  readonly config: LoraConfig;
  /** Its tensors by PEFT's name, in the order of the model. */
  readonly variables: ReadonlyMap<string, Variable>;
  /** scale · B A of a module, [out, in]; undefined where the adapter does not change it. */
  delta(module: string): Float32Array | undefined;
  /** Writes the PEFT folder; other files in it stay. @param extra.baseModel the base as the user named it */
  save(folder: string, extra: { readonly baseModel: string }): Promise<void>;
  /** Frees its tensors; the model is left as it is. */
  dispose(): void;
}

/** Puts a fresh LoRA on a model: A drawn at random from the seed, B zero. */
export function attachLora(_model: Decoder, _config: LoraConfig, _seed: number): Adapter {
  throw new LlmkitError('unsupported', 'attachLora: not written yet');
}

/** Puts a PEFT folder's adapter on a model; it changes only what the folder holds. */
export async function loadAdapter(
  _model: Decoder,
  folder: string,
  _options: { readonly trainable?: boolean } = {},
): Promise<Adapter> {
  throw new LlmkitError('unsupported', `loadAdapter: not written yet (${folder})`);
}
