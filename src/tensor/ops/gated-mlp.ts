import * as tf from '../tfjs.js';
import { type ActivationName, activation } from './activation.js';
import { expectShape, runKernel } from './fused.js';
import { fusedHeld, type Held } from './held.js';
import { cheap } from './recipe.js';

/** Kernel of `gatedMlp`: inputs gate, up; attributes name, held?. */
export const GATED_MLP = 'LlmkitGatedMlp';
/** Inputs gate, up, dy; attribute name; outputs dgate, dup. */
export const GATED_MLP_GRAD = 'LlmkitGatedMlpGrad';

/**
 * The middle of a gated MLP: activation(gate) · up, element by element.
 *
 * @param gate any shape
 * @param up the shape of gate
 * @throws LlmkitError `shape`
 * @see https://arxiv.org/abs/2002.05202
 */
export function gatedMlp(
  gate: tf.Tensor,
  up: tf.Tensor,
  name: ActivationName,
  held?: Held,
): tf.Tensor {
  expectShape('gatedMlp: up', up.shape, gate.shape);
  const call = { inputs: { gate, up }, attrs: { name } };
  const y = fusedHeld(GATED_MLP, call, () => tf.mul(activation(gate, name), up), held);
  return cheap(y, [gate, up], ([gate, up]) =>
    gatedMlp(gate as tf.Tensor, up as tf.Tensor, name, held),
  );
}

/** Gradient of `gatedMlp`. */
export const gatedMlpGradient: tf.GradConfig = {
  kernelName: GATED_MLP,
  inputsToSave: ['gate', 'up'],
  gradFunc: (dy, saved, attrs) => {
    const [gate, up] = saved as [tf.Tensor, tf.Tensor];
    const inputs = { gate, up, dy: dy as tf.Tensor };
    const [dgate, dup] = runKernel<tf.Tensor[]>(GATED_MLP_GRAD, { inputs, attrs }) as [
      tf.Tensor,
      tf.Tensor,
    ];
    return { gate: () => dgate, up: () => dup };
  },
};
