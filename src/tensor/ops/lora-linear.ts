import * as tf from '../tfjs.js';
import type { Weight } from '../weight.js';
import { asMatrix, expectLastAxis, expectShape, hasKernel, runKernel } from './fused.js';
import { type Held, hold, runHeld } from './held.js';
import { frozenGradInput, holds, linear } from './linear.js';
import { savable } from './recipe.js';

/** Inputs x, a, b, dropped?, bias?; attributes weight, scale, held? of y; outputs y and low [M, R]. */
export const LORA_LINEAR = 'LlmkitLoraLinear';
/**
 * Inputs dy, dropped, low, a, b; attributes weight, scale, whole; outputs dx, da, db, and ddropped
 * unless `whole`: then dropped was x and dx has both parts.
 */
export const LORA_LINEAR_GRAD = 'LlmkitLoraLinearGrad';

/** A frozen matrix with a low-rank one beside it. */
export interface LoraMatrices {
  /** [rows, cols] */
  readonly weight: Weight;
  /** [R, cols] */
  readonly a: tf.Tensor2D;
  /** [rows, R] */
  readonly b: tf.Tensor2D;
  readonly scale: number;
  /** [rows] */
  readonly bias?: tf.Tensor1D | undefined;
}

/** How a linear layer with LoRA is applied. */
export interface LoraOptions {
  /** x after dropout; x itself if left out. */
  readonly dropped?: tf.Tensor;
  readonly held?: Held;
}

/**
 * A linear layer with LoRA: y = x · Wᵀ + bias + scale · (dropped · Aᵀ) · Bᵀ, in one pass over x and y.
 * The low-rank part is in float32, or close to it: on the CPU, beside a weight that computes in bf16, x and dy are
 * rounded for it too, while a, b and low keep 16 bits of their values.
 *
 * @param x [..., cols]
 * @returns [..., rows]
 * @throws LlmkitError `shape`
 * @see https://arxiv.org/abs/2106.09685
 */
export function loraLinear(
  x: tf.Tensor,
  matrices: LoraMatrices,
  { dropped = x, held }: LoraOptions = {},
): tf.Tensor {
  const { weight, a, b, bias } = matrices;
  expectLastAxis('loraLinear: x', x, weight.cols);
  expectShape('loraLinear: dropped', dropped.shape, x.shape);
  expectShape('loraLinear: a', a.shape, [-1, weight.cols]);
  expectShape('loraLinear: b', b.shape, [weight.rows, a.shape[0]]);
  if (bias !== undefined) expectShape('loraLinear: bias', bias.shape, [weight.rows]);
  const run = () => forward(x, matrices, { dropped, held });
  if (!tf.engine().isTapeOn()) return tf.tidy(() => run()[0]);
  const whole = dropped === x;
  const inputs = [x, a, b, ...(whole ? [] : [dropped]), ...(bias ? [bias] : [])];
  const source = savable(dropped);
  const product = tf.customGrad((...args) => {
    const [y, low] = run();
    (args[inputs.length] as tf.GradSaveFunc)([low, a, b, ...source.tensors]);
    const gradFunc = (dy: tf.Tensor | tf.Tensor[], saved: tf.Tensor[]) => {
      const [low, a, b, ...rest] = saved as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D];
      const kept = { low, dropped: source.restore(rest), whole };
      return gradients(dy as tf.Tensor, { ...matrices, a, b }, kept);
    };
    return { value: y, gradFunc };
  });
  return product(...inputs);
}

function forward(
  x: tf.Tensor,
  matrices: LoraMatrices,
  { dropped, held }: { readonly dropped: tf.Tensor; readonly held: Held },
): [y: tf.Tensor, low: tf.Tensor] {
  const { weight, a, b, scale, bias } = matrices;
  if (hasKernel(LORA_LINEAR)) {
    const inputs: tf.NamedTensorMap = { x, a, b };
    if (dropped !== x) inputs.dropped = dropped;
    if (bias !== undefined) inputs.bias = bias;
    const call = { inputs, attrs: { weight, scale } };
    const [y, low] = runHeld(LORA_LINEAR, call, holds(weight, held) ? held : undefined);
    return [holds(weight, held) ? (y as tf.Tensor) : hold(y as tf.Tensor, held), low as tf.Tensor];
  }
  const low = tf.mul(tf.matMul(asMatrix(dropped), a, false, true), scale);
  const y = linear(x, weight, bias);
  const sum = tf.add(y, tf.reshape(tf.matMul(low as tf.Tensor2D, b, false, true), y.shape));
  return [hold(sum, held), low];
}

/** What the gradient needs of the forward pass. */
interface Kept {
  /** scale · dropped · Aᵀ, [M, R] */
  readonly low: tf.Tensor2D;
  readonly dropped: tf.Tensor;
  /** Whether dropped is x. */
  readonly whole: boolean;
}

/** Of x, a, b, of dropped if it is not x, of the bias if there is one. */
function gradients(dy: tf.Tensor, matrices: LoraMatrices, kept: Kept): tf.Tensor[] {
  const [dx, da, db, ...ddropped] = hasKernel(LORA_LINEAR_GRAD)
    ? kernelGradients(dy, matrices, kept)
    : composedGradients(dy, matrices, kept);
  const dbias = matrices.bias === undefined ? [] : [tf.sum(asMatrix(dy), 0)];
  return [dx, da, db, ...ddropped, ...dbias] as tf.Tensor[];
}

function kernelGradients(
  dy: tf.Tensor,
  { weight, a, b, scale }: LoraMatrices,
  { low, dropped, whole }: Kept,
): tf.Tensor[] {
  return runKernel<tf.Tensor[]>(LORA_LINEAR_GRAD, {
    inputs: { dy, dropped, low, a, b },
    attrs: { weight, scale, whole },
  });
}

function composedGradients(
  dy: tf.Tensor,
  { weight, a, b, scale }: LoraMatrices,
  { low, dropped, whole }: Kept,
): tf.Tensor[] {
  const rows = asMatrix(dy);
  const dlow = tf.mul(tf.matMul(rows, b), scale) as tf.Tensor2D;
  const ddropped = tf.reshape(tf.matMul(dlow, a), dropped.shape);
  const dx = tf.reshape(frozenGradInput(rows, weight), dropped.shape);
  const da = tf.matMul(dlow, asMatrix(dropped), true);
  const db = tf.matMul(rows, low, true);
  return whole ? [tf.add(dx, ddropped), da, db] : [dx, da, db, ddropped];
}
