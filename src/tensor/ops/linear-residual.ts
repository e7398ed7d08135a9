import type * as tf from '../tfjs.js';
import { expectShape, runKernel } from './fused.js';
import { matrixShape } from './linear.js';
import { type LinearLayer, layerCall, product, runsAtOnce } from './linear-layer.js';
import { addResidual } from './residual.js';

/** Inputs and attributes of `layerCall` for one layer, and the input residual. */
export const LINEAR_RESIDUAL = 'LlmkitLinearResidual';

/**
 * A linear layer onto the residual stream: `addResidual(residual, linear(x, …))`, bit for bit. A call
 * less where the weight is frozen and no gradients are recorded; with an update only on a GPU.
 *
 * @param x [..., cols]
 * @param residual [..., rows]
 * @throws LlmkitError `shape`
 */
export function linearResidual(x: tf.Tensor, layer: LinearLayer, residual: tf.Tensor): tf.Tensor {
  if (!runsAtOnce(LINEAR_RESIDUAL, [layer])) return addResidual(residual, product(x, layer));
  const { inputs, attrs } = layerCall('linearResidual', x, [layer]);
  const shape = [...x.shape.slice(0, -1), matrixShape(layer.weight)[0]];
  expectShape('linearResidual: residual', residual.shape, shape);
  return runKernel(LINEAR_RESIDUAL, { inputs: { ...inputs, residual }, attrs });
}
