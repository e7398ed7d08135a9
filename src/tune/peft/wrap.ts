import type { Linear } from '../../model/linear.js';
import { tensor, type Variable, variable } from '../../tensor/tfjs.js';
import type { LoraModule } from './adapter-file.js';
import { LoraLinear } from './lora-linear.js';

/** How a pair of matrices goes on a layer. */
export interface WrapOptions {
  /** Probability of dropout. */
  readonly rate: number;
  /** Tells this layer's dropout masks from others'. */
  readonly stream: number;
  readonly trainable: boolean;
}

/** A linear layer with a pair of matrices beside it, as new variables. */
export function wrapLinear(
  inner: Linear,
  lora: LoraModule,
  { rate, stream, trainable }: WrapOptions,
): LoraLinear {
  const { r, inFeatures, outFeatures, scale, a, b, bias } = lora;
  const make = (values: Float32Array, shape: number[]) => makeVariable(values, shape, trainable);
  return new LoraLinear(inner, {
    a: make(a, [r, inFeatures]),
    b: make(b, [outFeatures, r]),
    ...(bias && { bias: make(bias, [outFeatures]) }),
    scale,
    dropout: { rate, stream },
  });
}

/** A new variable with these values. */
export function makeVariable(
  values: Float32Array,
  shape: readonly number[],
  trainable: boolean,
): Variable {
  const initial = tensor(values, [...shape]);
  const made = variable(initial, trainable);
  initial.dispose();
  return made;
}
