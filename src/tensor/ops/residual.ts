import * as tf from '../tfjs.js';
import { expectShape, runKernel } from './fused.js';

/**
 * x + branch, of one shape: tf.add without its conversions, which cost more than a token's sum, and
 * without keeping both for the gradient, to look at their shapes.
 *
 * @throws LlmkitError `shape`
 */
export function addResidual<T extends tf.Tensor>(x: T, branch: T): T {
  expectShape('addResidual: branch', branch.shape, x.shape);
  const add = (a: tf.Tensor, b: tf.Tensor) => runKernel('Add', { inputs: { a, b } });
  if (!tf.engine().isTapeOn()) return add(x, branch) as T;
  const sum = tf.customGrad((a, b) => ({
    value: add(a as tf.Tensor, b as tf.Tensor),
    gradFunc: (dy) => [dy as tf.Tensor, dy as tf.Tensor],
  }));
  return sum(x, branch) as T;
}

/**
 * The same elements under another shape: tf.reshape without its conversions, and without keeping x for
 * the gradient, to look at its shape.
 */
export function viewAs<T extends tf.Tensor>(x: tf.Tensor, shape: readonly number[]): T {
  const view = (x: tf.Tensor, shape: readonly number[]) =>
    runKernel('Reshape', { inputs: { x }, attrs: { shape } });
  if (!tf.engine().isTapeOn()) return view(x, shape) as T;
  const from = x.shape;
  const reshaped = tf.customGrad((x) => ({
    value: view(x as tf.Tensor, shape),
    gradFunc: (dy) => view(dy as tf.Tensor, from),
  }));
  return reshaped(x) as T;
}
