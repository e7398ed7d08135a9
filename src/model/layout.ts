import type { HfConfig } from '../checkpoint/checkpoint.js';
import { LlmkitError } from '../errors.js';

/** One parameter of a model, known from config.json alone. */
export interface ParameterSpec {
  /** Hugging Face tensor name, for example `model.layers.0.mlp.up_proj.weight`. */
  readonly name: string;
  readonly role: 'linear' | 'embedding' | 'norm' | 'bias';
  /** As the decoder uses it; a linear weight is [out, in]. */
  readonly shape: readonly number[];
  /** The file holds the transposed matrix (GPT-2's Conv1D). */
  readonly transposedOnDisk: boolean;
}

/** Every parameter a model of this config has, in the order of the forward pass. Needs no weights. */
export function parameterSpecs(_config: HfConfig): readonly ParameterSpec[] {
  throw new LlmkitError('unsupported', 'parameterSpecs: not written yet');
}

/**
 * Names of parameters in a file: older writers leave out the base model's prefix
 * (`h.0.attn.c_attn.weight` for `transformer.h.0.attn.c_attn.weight`).
 *
 * @returns Hugging Face name → name in the file, for those that are there
 */
export function storedNames(
  _config: HfConfig,
  _tensors: { has(name: string): boolean },
): ReadonlyMap<string, string> {
  throw new LlmkitError('unsupported', 'storedNames: not written yet');
}
