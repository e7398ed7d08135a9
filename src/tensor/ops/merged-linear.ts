import * as tf from '../tfjs.js';
import { Weight } from '../weight.js';
import { expectLastAxis, expectShape, hasKernel } from './fused.js';
import { type Held, runHeld } from './held.js';
import { holds, linear, matrixShape } from './linear.js';

/** Inputs x and the biases by place (`bias0`); attributes weights, held?; an output per weight. */
export const MERGED_LINEAR = 'LlmkitMergedLinear';

/** One of several linear layers of the same input. */
export interface LinearLayer {
  /** [rows, cols] */
  readonly weight: Weight | tf.Tensor2D;
  /** [rows] */
  readonly bias?: tf.Tensor1D | undefined;
}

/**
 * Several linear layers of one input (queries, keys and values; gate and up): `linear` of each, bit for
 * bit. Frozen weights are multiplied in one pass, which brings x into the form of the product once; where
 * there are gradients to record, each layer is a product of its own.
 *
 * @param x [..., cols]
 * @returns [..., rows] of each layer
 * @throws LlmkitError `shape`
 */
export function mergedLinear(
  x: tf.Tensor,
  layers: readonly LinearLayer[],
  held?: Held,
): tf.Tensor[] {
  const weights = layers.flatMap(({ weight }) => (weight instanceof Weight ? weight : []));
  const frozen = weights.length === layers.length;
  const merges = frozen && weights.every((weight) => holds(weight, held));
  if (!merges || !hasKernel(MERGED_LINEAR) || tf.engine().isTapeOn()) {
    return layers.map(({ weight, bias }) => linear(x, weight, bias, held));
  }
  const inputs: tf.NamedTensorMap = { x };
  layers.forEach(({ weight, bias }, i) => {
    const [rows, cols] = matrixShape(weight);
    expectLastAxis('mergedLinear: x', x, cols);
    if (bias === undefined) return;
    expectShape('mergedLinear: bias', bias.shape, [rows]);
    inputs[`bias${i}`] = bias;
  });
  return runHeld(MERGED_LINEAR, { inputs, attrs: { weights } }, held, { every: true });
}
