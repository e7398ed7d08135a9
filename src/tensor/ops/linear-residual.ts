import * as tf from '../tfjs.js';
import { Weight } from '../weight.js';
import { expectLastAxis, expectShape, hasKernel, runKernel } from './fused.js';
import { linear } from './linear.js';
import type { LinearLayer } from './merged-linear.js';
import { addResidual } from './residual.js';

/** Inputs x, residual, bias?; attribute weight. */
export const LINEAR_RESIDUAL = 'LlmkitLinearResidual';

/**
 * A linear layer onto the residual stream: `addResidual(residual, linear(x, …))`, bit for bit. A call
 * less where the weight is frozen and no gradients are recorded.
 *
 * @param x [..., cols]
 * @param residual [..., rows]
 * @throws LlmkitError `shape`
 */
export function linearResidual(
  x: tf.Tensor,
  { weight, bias }: LinearLayer,
  residual: tf.Tensor,
): tf.Tensor {
  const plain = !(weight instanceof Weight) || !hasKernel(LINEAR_RESIDUAL);
  if (plain || tf.engine().isTapeOn()) return addResidual(residual, linear(x, weight, bias));
  expectLastAxis('linearResidual: x', x, weight.cols);
  const shape = [...x.shape.slice(0, -1), weight.rows];
  expectShape('linearResidual: residual', residual.shape, shape);
  if (bias !== undefined) expectShape('linearResidual: bias', bias.shape, [weight.rows]);
  const inputs = bias === undefined ? { x, residual } : { x, residual, bias };
  return runKernel(LINEAR_RESIDUAL, { inputs, attrs: { weight } });
}
