import * as tf from '../tfjs.js';
import { Weight } from '../weight.js';
import { expectLastAxis, expectShape, hasKernel } from './fused.js';
import type { Held } from './held.js';
import { linear, matrixShape } from './linear.js';
import { loraLinear } from './lora-linear.js';

/** A low-rank matrix that is added to a frozen one: scale · b · a. */
export interface LowRank {
  /** [R, cols] */
  readonly a: tf.Tensor2D;
  /** [rows, R] */
  readonly b: tf.Tensor2D;
  readonly scale: number;
}

/** A linear layer that is multiplied in one call with others, or with what follows it. */
export interface LinearLayer {
  /** [rows, cols] */
  readonly weight: Weight | tf.Tensor2D;
  /** [rows] */
  readonly bias?: tf.Tensor1D | undefined;
  /** Only beside a `Weight`. */
  readonly update?: LowRank | undefined;
}

/** What a backend has whose kernels of products with what follows them add updates, where all weights compute in bf16. */
export interface UpdatingBackend {
  readonly addsUpdates: true;
}

/** y [..., rows] of one layer, by `linear` or `loraLinear`. */
export function product(x: tf.Tensor, layer: LinearLayer, held?: Held): tf.Tensor {
  const { weight, bias, update } = layer;
  if (update === undefined) return linear(x, weight, bias, held);
  return loraLinear(x, { ...update, weight: weight as Weight, bias }, { held });
}

/**
 * Whether a kernel makes the products of these layers and what follows them: all are frozen, no gradients are recorded,
 * and the backend adds their updates.
 */
export function runsAtOnce(kernelName: string, layers: readonly LinearLayer[]): boolean {
  if (!hasKernel(kernelName) || tf.engine().isTapeOn()) return false;
  const frozen = layers.flatMap(({ weight }) => (weight instanceof Weight ? weight : []));
  if (frozen.length < layers.length) return false;
  if (layers.every(({ update }) => update === undefined)) return true;
  const { addsUpdates = false } = tf.backend() as Partial<UpdatingBackend>;
  return addsUpdates && frozen.every(({ compute }) => compute === 'bf16');
}

/**
 * What such a kernel is called with: inputs x and by layer bias0?, a0?, b0?; attributes weights and scales, undefined
 * without an update.
 *
 * @param op named in errors
 * @throws LlmkitError `shape`
 */
export function layerCall(op: string, x: tf.Tensor, layers: readonly LinearLayer[]) {
  const inputs: tf.NamedTensorMap = { x };
  layers.forEach(({ weight, bias, update }, i) => {
    const [rows, cols] = matrixShape(weight);
    expectLastAxis(`${op}: x`, x, cols);
    if (bias !== undefined) {
      expectShape(`${op}: bias`, bias.shape, [rows]);
      inputs[`bias${i}`] = bias;
    }
    if (update === undefined) return;
    expectShape(`${op}: a`, update.a.shape, [-1, cols]);
    expectShape(`${op}: b`, update.b.shape, [rows, update.a.shape[0]]);
    inputs[`a${i}`] = update.a;
    inputs[`b${i}`] = update.b;
  });
  const weights = layers.map(({ weight }) => weight as Weight);
  return { inputs, attrs: { weights, scales: layers.map(({ update }) => update?.scale) } };
}
