import type * as tf from '../tfjs.js';
import { type ActivationName, activation } from './activation.js';
import { runKernel } from './fused.js';
import type { Held } from './held.js';
import { type LinearLayer, layerCall, product, runsAtOnce } from './linear-layer.js';

/** Inputs and attributes of `layerCall` for one layer, and the attribute name. */
export const ACTIVATED_LINEAR = 'LlmkitActivatedLinear';

/**
 * The first half of an MLP without a gate: `activation(linear(x, …), name)`, bit for bit. A call less where the weight
 * is frozen, no gradients are recorded and nothing is held; with an update only on a GPU.
 *
 * @param x [..., cols]
 * @param held of the product and of the result
 * @returns [..., rows]
 * @throws LlmkitError `shape`
 */
export function activatedLinear(
  x: tf.Tensor,
  layer: LinearLayer,
  name: ActivationName,
  held?: Held,
): tf.Tensor {
  if (held !== undefined || !runsAtOnce(ACTIVATED_LINEAR, [layer])) {
    return activation(product(x, layer, held), name, held);
  }
  const { inputs, attrs } = layerCall('activatedLinear', x, [layer]);
  return runKernel(ACTIVATED_LINEAR, { inputs, attrs: { ...attrs, name } });
}
