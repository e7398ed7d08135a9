import type { Compute, ComputeChoice } from '../tensor/compute.js';
import { Weight } from '../tensor/weight.js';
import type { Decoder } from './decoder.js';
import { computeOfLinear } from './linear.js';

/**
 * The arithmetic of a model's linear layers, for people: `int8 (auto: int4 weights), bf16 (auto: bf16 weights)`.
 *
 * @param choice named where it was `auto`; left out, two models that compute alike read alike
 */
export function describeCompute(model: Decoder, choice?: ComputeChoice): string {
  const formats = new Map<Compute, Set<string>>();
  for (const linear of model.linears.values()) {
    const { weight } = linear;
    const format = weight instanceof Weight ? weight.format : 'trained';
    const compute = computeOfLinear(linear);
    formats.set(compute, (formats.get(compute) ?? new Set()).add(format));
  }
  const auto = choice === 'auto' ? 'auto: ' : '';
  return [...formats]
    .map(([compute, names]) => `${compute} (${auto}${[...names].join(', ')} weights)`)
    .join(', ');
}

/** Whether every product with a linear layer's weight is float32. */
export function computesInF32(model: Decoder): boolean {
  return [...model.linears.values()].every((linear) => computeOfLinear(linear) === 'f32');
}
