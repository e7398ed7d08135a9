import type * as tf from '../tfjs.js';
import type { Weight } from '../weight.js';
import { type Held, runHeld } from './held.js';
import { holds } from './linear.js';
import { type LinearLayer, layerCall, product, runsAtOnce } from './linear-layer.js';

/** Inputs of `layerCall` without updates; attributes weights, held?; an output per weight. */
export const MERGED_LINEAR = 'LlmkitMergedLinear';

/**
 * Several linear layers of one input (queries, keys and values; gate and up): `linear` of each, bit for
 * bit. Frozen weights are multiplied in one pass, which brings x into the form of the product once; where
 * there are updates or gradients to record, each layer is a product of its own.
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
  const merges = ({ weight, update }: LinearLayer) =>
    update === undefined && holds(weight as Weight, held);
  if (!runsAtOnce(MERGED_LINEAR, layers) || !layers.every(merges)) {
    return layers.map((layer) => product(x, layer, held));
  }
  return runHeld(MERGED_LINEAR, layerCall('mergedLinear', x, layers), held, { every: true });
}
