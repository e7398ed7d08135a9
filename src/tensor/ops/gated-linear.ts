import * as tf from '../tfjs.js';
import { Weight } from '../weight.js';
import type { ActivationName } from './activation.js';
import { expectLastAxis, expectShape, hasKernel, runKernel } from './fused.js';
import { gatedMlp } from './gated-mlp.js';
import type { Held } from './held.js';
import { type LinearLayer, mergedLinear } from './merged-linear.js';

/** Inputs x, bias0?, bias1?; attributes weights (gate and up), name. */
export const GATED_LINEAR = 'LlmkitGatedLinear';

/** The two matrices of a gated MLP's first half, of one size. */
export interface GatedLayers {
  readonly gate: LinearLayer;
  readonly up: LinearLayer;
}

/**
 * The first half of a gated MLP: activation(gate(x)) · up(x), the bits of `gatedMlp` of both products.
 * One call where both weights are frozen, no gradients are recorded and nothing is held.
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
  const weights = [gate.weight, up.weight];
  const frozen = weights.every((weight) => weight instanceof Weight);
  const apart = !frozen || held !== undefined || !hasKernel(GATED_LINEAR);
  if (apart || tf.engine().isTapeOn()) {
    const [gated, linear] = mergedLinear(x, [gate, up], held) as [tf.Tensor, tf.Tensor];
    return gatedMlp(gated, linear, name, held);
  }
  const { rows, cols } = gate.weight as Weight;
  const other = up.weight as Weight;
  expectLastAxis('gatedLinear: x', x, cols);
  expectShape('gatedLinear: up', [other.rows, other.cols], [rows, cols]);
  const inputs: tf.NamedTensorMap = { x };
  for (const [i, bias] of [gate.bias, up.bias].entries()) {
    if (bias === undefined) continue;
    expectShape('gatedLinear: bias', bias.shape, [rows]);
    inputs[`bias${i}`] = bias;
  }
  return runKernel(GATED_LINEAR, { inputs, attrs: { weights, name } });
}
