import * as tf from '../tfjs.js';
import { type ActivationName, activation } from './activation.js';
import { expectShape, fused, hasKernel, runKernel, runUntaped } from './fused.js';
import { cheap } from './recipe.js';

/** Kernel of `gatedMlp`: inputs gate, up; attribute name. */
export const GATED_MLP = 'LlmkitGatedMlp';
/** Inputs gate, up, dy; attribute name; outputs dgate, dup. */
export const GATED_MLP_GRAD = 'LlmkitGatedMlpGrad';

/** As GATED_MLP; outputs y and kept, of y's shape: gate and up in bf16, as bytes. */
export const GATED_MLP_KEEP = 'LlmkitGatedMlpKeep';
/** Input kept; attribute name; output y from what was kept. */
export const GATED_MLP_KEPT = 'LlmkitGatedMlpKept';
/** Inputs kept, dy; attribute name; outputs dgate, dup. */
export const GATED_MLP_KEPT_GRAD = 'LlmkitGatedMlpKeptGrad';

/**
 * The middle of a gated MLP: activation(gate) · up, element by element.
 *
 * @param gate any shape
 * @param up the shape of gate
 * @param options.keepBf16 gate and up are products in bf16: a backend that can keeps them for the
 *   gradient in bf16 too, in half the memory
 * @throws LlmkitError `shape`
 * @see https://arxiv.org/abs/2002.05202
 */
export function gatedMlp(
  gate: tf.Tensor,
  up: tf.Tensor,
  name: ActivationName,
  { keepBf16 = false } = {},
): tf.Tensor {
  expectShape('gatedMlp: up', up.shape, gate.shape);
  if (keepBf16 && tf.engine().isTapeOn() && hasKernel(GATED_MLP_KEEP)) {
    return keepingBf16(gate, up, name);
  }
  const call = { inputs: { gate, up }, attrs: { name } };
  const y = fused(GATED_MLP, call, () => tf.mul(activation(gate, name), up));
  return cheap(y, [gate, up], ([gate, up]) => gatedMlp(gate as tf.Tensor, up as tf.Tensor, name));
}

function keepingBf16(gate: tf.Tensor, up: tf.Tensor, name: ActivationName): tf.Tensor {
  const attrs = { name };
  const made = runUntaped<tf.Tensor[]>(GATED_MLP_KEEP, { inputs: { gate, up }, attrs });
  const [value, kept] = made as [tf.Tensor, tf.Tensor];
  const product = tf.customGrad((...args) => {
    (args[2] as tf.GradSaveFunc)([kept]);
    return {
      value: tf.clone(value),
      gradFunc: (dy, saved) => {
        const inputs = { kept: saved[0] as tf.Tensor, dy: dy as tf.Tensor };
        return runKernel<tf.Tensor[]>(GATED_MLP_KEPT_GRAD, { inputs, attrs });
      },
    };
  });
  return cheap(product(gate, up), [kept], ([kept]) =>
    runKernel(GATED_MLP_KEPT, { inputs: { kept: kept as tf.Tensor }, attrs }),
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
