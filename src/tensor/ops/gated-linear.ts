import type * as tf from '../tfjs.js';
import type { ActivationName } from './activation.js';
import { expectShape, runKernel } from './fused.js';
import { gatedMlp } from './gated-mlp.js';
import type { Held } from './held.js';
import { matrixShape } from './linear.js';
import { type LinearLayer, layerCall, runsAtOnce } from './linear-layer.js';
import { mergedLinear } from './merged-linear.js';

/** Inputs and attributes of `layerCall` for gate and up, and the attribute name. */
export const GATED_LINEAR = 'LlmkitGatedLinear';

/** The two matrices of a gated MLP's first half, of one size. */
export interface GatedLayers {
  readonly gate: LinearLayer;
  readonly up: LinearLayer;
}

/**
 * The first half of a gated MLP: activation(gate(x)) · up(x), the bits of `gatedMlp` of both products.
 * One call where both weights are frozen, no gradients are recorded and nothing is held; with updates only on a GPU.
 *
 * @param x [..., cols]
 * @param held of both products and of the result
 * @returns [..., rows]
 * @throws LlmkitError `shape`
 */
export function gatedLinear(
  x: tf.Tensor,
  { gate, up }: GatedLayers,
  name: ActivationName,
  held?: Held,
): tf.Tensor {
  const layers = [gate, up];
  if (held !== undefined || !runsAtOnce(GATED_LINEAR, layers)) {
    const [gated, linear] = mergedLinear(x, layers, held) as [tf.Tensor, tf.Tensor];
    return gatedMlp(gated, linear, name, held);
  }
  expectShape('gatedLinear: up', matrixShape(up.weight), matrixShape(gate.weight));
  const { inputs, attrs } = layerCall('gatedLinear', x, layers);
  return runKernel(GATED_LINEAR, { inputs, attrs: { ...attrs, name } });
}
