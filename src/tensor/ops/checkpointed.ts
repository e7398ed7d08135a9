import { valueAndGradients } from '../gradients.js';
import * as tf from '../tfjs.js';

/**
 * Gradient checkpointing: runs fn without keeping its intermediate tensors and runs it again in the
 * backward pass.
 *
 * @param fn gives the same result when called again with the same values
 * @param inputs every tensor and variable that a gradient is wanted for; fn gets them in this order
 * @see https://arxiv.org/abs/1604.06174
 */
export function checkpointed(fn: (...inputs: tf.Tensor[]) => tf.Tensor, inputs: tf.Tensor[]) {
  const run = tf.customGrad((...args) => {
    const save = args[inputs.length] as tf.GradSaveFunc;
    save(inputs.filter((input) => !(input instanceof tf.Variable)));
    return {
      value: fn(...inputs),
      gradFunc: (dy, saved) => gradientsOf(fn, restored(inputs, saved), dy as tf.Tensor),
    };
  });
  return run(...inputs);
}

/** Variables stay themselves, since fn may also reach them by name; the others come from the tape. */
function restored(inputs: readonly tf.Tensor[], saved: readonly tf.Tensor[]): tf.Tensor[] {
  let next = 0;
  return inputs.map((input) =>
    input instanceof tf.Variable ? input : (saved[next++] as tf.Tensor),
  );
}

function gradientsOf(
  fn: (...inputs: tf.Tensor[]) => tf.Tensor,
  inputs: tf.Tensor[],
  dy: tf.Tensor,
): tf.Tensor[] {
  return tf.tidy(() => {
    const { gradients } = valueAndGradients(() => fn(...inputs), inputs, { dy });
    return gradients.map((gradient, i) => gradient ?? tf.zerosLike(inputs[i] as tf.Tensor));
  });
}
