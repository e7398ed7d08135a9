import * as tf from '../tfjs.js';
import { Weight } from '../weight.js';
import { type ActivationName, activation } from './activation.js';
import { expectLastAxis, expectShape, hasKernel, runKernel } from './fused.js';
import { linear } from './linear.js';
import type { LinearLayer } from './merged-linear.js';

/** Inputs x, bias?; attributes weight, name. */
export const ACTIVATED_LINEAR = 'LlmkitActivatedLinear';

/**
 * The first half of an MLP without a gate: `activation(linear(x, …), name)`, bit for bit. A call less where
 * the weight is frozen and no gradients are recorded.
 *
 * @param x [..., cols]
 * @returns [..., rows]
 * @throws LlmkitError `shape`
 */
export function activatedLinear(
  x: tf.Tensor,
  { weight, bias }: LinearLayer,
  name: ActivationName,
): tf.Tensor {
  const plain = !(weight instanceof Weight) || !hasKernel(ACTIVATED_LINEAR);
  if (plain || tf.engine().isTapeOn()) return activation(linear(x, weight, bias), name);
  expectLastAxis('activatedLinear: x', x, weight.cols);
  if (bias !== undefined) expectShape('activatedLinear: bias', bias.shape, [weight.rows]);
  const inputs = bias === undefined ? { x } : { x, bias };
  return runKernel(ACTIVATED_LINEAR, { inputs, attrs: { weight, name } });
}
