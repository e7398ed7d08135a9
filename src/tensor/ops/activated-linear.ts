import * as tf from '../tfjs.js';
import { Weight } from '../weight.js';
import { type ActivationName, activation } from './activation.js';
import { expectLastAxis, expectShape, hasKernel, runKernel } from './fused.js';
import type { Held } from './held.js';
import { linear } from './linear.js';
import type { LinearLayer } from './merged-linear.js';

/** Inputs x, bias?; attributes weight, name. */
export const ACTIVATED_LINEAR = 'LlmkitActivatedLinear';

/**
 * The first half of an MLP without a gate: `activation(linear(x, …), name)`, bit for bit. A call less where
 * the weight is frozen, no gradients are recorded and nothing is held.
 *
 * @param x [..., cols]
 * @param held of the product and of the result
 * @returns [..., rows]
 * @throws LlmkitError `shape`
 */
export function activatedLinear(
  x: tf.Tensor,
  { weight, bias }: LinearLayer,
  name: ActivationName,
  held?: Held,
): tf.Tensor {
  const apart = !(weight instanceof Weight) || held !== undefined || !hasKernel(ACTIVATED_LINEAR);
  if (apart || tf.engine().isTapeOn()) {
    return activation(linear(x, weight, bias, held), name, held);
  }
  expectLastAxis('activatedLinear: x', x, weight.cols);
  if (bias !== undefined) expectShape('activatedLinear: bias', bias.shape, [weight.rows]);
  const inputs = bias === undefined ? { x } : { x, bias };
  return runKernel(ACTIVATED_LINEAR, { inputs, attrs: { weight, name } });
}
