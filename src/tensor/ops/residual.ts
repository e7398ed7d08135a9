import type * as tf from '../tfjs.js';
import { expectShape, runKernel } from './fused.js';

/**
 * x + branch, of one shape: tf.add without its conversions, which cost more than a token's sum.
 *
 * @throws LlmkitError `shape`
 */
export function addResidual<T extends tf.Tensor>(x: T, branch: T): T {
  expectShape('addResidual: branch', branch.shape, x.shape);
  return runKernel('Add', { inputs: { a: x, b: branch } }) as T;
}

/** The same elements under another shape: tf.reshape without its conversions. */
export function viewAs<T extends tf.Tensor>(x: tf.Tensor, shape: readonly number[]): T {
  return runKernel('Reshape', { inputs: { x }, attrs: { shape } }) as T;
}
