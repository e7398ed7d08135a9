import { LlmkitError } from '../errors.js';
import type { Compute } from '../tensor/compute.js';
import { type Tensor1D, type Tensor2D, tensor, type Variable, variable } from '../tensor/tfjs.js';
import type { Weight } from '../tensor/weight.js';
import type { Visibility } from './batch.js';
import type { DecoderConfig } from './config.js';
import type { KvCache } from './kv-cache.js';
import type { ParameterSpec } from './layout.js';
import type { ForwardContext, Linear } from './linear.js';

/** A parameter as the decoder holds it: a frozen matrix, or a dense variable, trainable or not. */
export type ParameterValue = Weight | Variable;

/** The arithmetic of products with variables, by Hugging Face tensor name; f32 where there is none. */
export type VariableComputes = ReadonlyMap<string, Compute>;

/** Where a model's blocks find their configuration, parameters and linear layers. */
export interface ModelParts {
  readonly config: DecoderConfig;
  /** By Hugging Face tensor name. */
  readonly parameters: ReadonlyMap<string, ParameterValue>;
  /** By module path; looked up at each call, since an adapter may wrap one at any time. */
  readonly linears: ReadonlyMap<string, Linear>;
}

/** What one forward pass gives each block. */
export interface Pass {
  readonly visibility: Visibility;
  readonly context: ForwardContext;
  readonly cache?: KvCache | undefined;
}

/** The linear layer of a module path, as it is wrapped now. */
export function linearOf(parts: ModelParts, name: string): Linear {
  const linear = parts.linears.get(name);
  if (linear !== undefined) return linear;
  throw new LlmkitError('checkpoint', `decoder: there is no linear layer '${name}'`);
}

/** A norm's weight or a bias; undefined where the model has none. */
export function vectorOf(parts: ModelParts, name: string): Tensor1D | undefined {
  return parts.parameters.get(name) as Tensor1D | undefined;
}

/** The matrix of a parameter. */
export function matrixOf(parts: ModelParts, name: string): Weight | Tensor2D {
  const value = parts.parameters.get(name);
  if (value !== undefined) return value as Weight | Tensor2D;
  throw new LlmkitError('checkpoint', `decoder: there is no parameter '${name}'`);
}

/** A dense parameter; a frozen one is a variable too, so that it can be unfrozen. */
export function toVariable(
  values: Float32Array,
  spec: ParameterSpec,
  isTrainable: boolean,
): Variable {
  const initial = tensor(values, [...spec.shape], 'float32');
  const parameter = variable(initial, isTrainable);
  initial.dispose();
  return parameter;
}
