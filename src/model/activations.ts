import { LlmkitError } from '../errors.js';
import type { ActivationName } from '../tensor/ops/index.js';

/** Activations by their name in config.json (transformers' ACT2FN). */
const activations: Readonly<Record<string, ActivationName>> = {
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_fast: 'gelu_tanh',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  gelu_python_tanh: 'gelu_tanh',
  quick_gelu: 'quick_gelu',
  relu: 'relu',
  sigmoid: 'sigmoid',
  silu: 'silu',
  swish: 'silu',
  tanh: 'tanh',
};

/** @throws LlmkitError `unsupported` on an unknown name, naming the known ones */
export function activationOf(name: string): ActivationName {
  const activation = Object.hasOwn(activations, name) ? activations[name] : undefined;
  if (activation !== undefined) return activation;
  const known = Object.keys(activations).join(', ');
  throw new LlmkitError('unsupported', `config.json: activation '${name}' is not one of ${known}`);
}
