import * as tf from '../tfjs.js';
import { runKernel } from './fused.js';
import { fusedHeld, type Held } from './held.js';
import { cheap } from './recipe.js';

/** Kernel of `activation`: input x; attributes name, held?. */
export const ACTIVATION = 'LlmkitActivation';
/** Inputs x, dy; attribute name. */
export const ACTIVATION_GRAD = 'LlmkitActivationGrad';

const compositions = {
  silu: (x: tf.Tensor) => tf.mul(x, tf.sigmoid(x)),
  gelu: (x: tf.Tensor) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1)),
  gelu_tanh: (x: tf.Tensor) => {
    const inner = tf.mul(tf.add(x, tf.mul(tf.mul(tf.square(x), x), 0.044715)), SQRT_2_OVER_PI);
    return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
  },
  quick_gelu: (x: tf.Tensor) => tf.mul(x, tf.sigmoid(tf.mul(x, 1.702))),
  relu: (x: tf.Tensor) => tf.relu(x),
  sigmoid: (x: tf.Tensor) => tf.sigmoid(x),
  tanh: (x: tf.Tensor) => tf.tanh(x),
};
const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);

/** Activations by name; `gelu` is the exact (erf) form, `gelu_tanh` the approximation of GPT-2. */
export type ActivationName = keyof typeof compositions;

/** The names that `activation` and `gatedMlp` take. */
export const ACTIVATION_NAMES = Object.keys(compositions) as readonly ActivationName[];

/** Applies an activation to every element. */
export function activation(x: tf.Tensor, name: ActivationName, held?: Held): tf.Tensor {
  const call = { inputs: { x }, attrs: { name } };
  const y = fusedHeld(ACTIVATION, call, () => compositions[name](x), held);
  return cheap(y, [x], ([x]) => activation(x as tf.Tensor, name, held));
}

/** Gradient of `activation`. */
export const activationGradient: tf.GradConfig = {
  kernelName: ACTIVATION,
  inputsToSave: ['x'],
  gradFunc: (dy, saved, attrs) => ({
    x: () => {
      const inputs = { x: saved[0] as tf.Tensor, dy: dy as tf.Tensor };
      return runKernel(ACTIVATION_GRAD, { inputs, attrs });
    },
  }),
};
