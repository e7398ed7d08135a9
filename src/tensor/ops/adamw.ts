import * as tf from '../tfjs.js';
import { expectShape, hasKernel, ownStorage, runKernel } from './fused.js';

/** Inputs parameter, gradient, m, v; attributes AdamWHyper; no output: updates in place. */
export const ADAMW = 'LlmkitAdamW';

/** A parameter, its gradient and its two running means, all of one shape. */
export interface AdamWState {
  readonly parameter: tf.Variable;
  readonly gradient: tf.Tensor;
  readonly m: tf.Variable;
  readonly v: tf.Variable;
}

/** Settings of one update; step counts from 1. */
export interface AdamWHyper {
  readonly step: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** The gradient is multiplied by it first. */
  readonly gradientScale?: number;
}

/**
 * One AdamW update of the parameter and its running means, in place, as torch.optim.AdamW.
 *
 * @throws LlmkitError `shape`
 * @see https://arxiv.org/abs/1711.05101
 */
export function adamw(state: AdamWState, hyper: AdamWHyper): void {
  const { parameter, gradient, m, v } = state;
  for (const [name, tensor] of Object.entries({ gradient, m, v })) {
    expectShape(`adamw: ${name}`, tensor.shape, parameter.shape);
  }
  if (hasKernel(ADAMW)) {
    for (const variable of [parameter, m, v]) ownStorage(variable);
    runKernel<tf.Tensor[]>(ADAMW, { inputs: { ...state }, attrs: hyper });
    return;
  }
  tf.tidy(() => composeUpdate(state, hyper));
}

function composeUpdate({ parameter, gradient, m, v }: AdamWState, hyper: AdamWHyper): void {
  const { step, learningRate, beta1, beta2, eps, weightDecay, gradientScale = 1 } = hyper;
  const scaled = tf.mul(gradient, gradientScale);
  m.assign(tf.add(tf.mul(m, beta1), tf.mul(scaled, 1 - beta1)));
  v.assign(tf.add(tf.mul(v, beta2), tf.mul(tf.square(scaled), 1 - beta2)));
  const root = tf.div(tf.sqrt(v), Math.sqrt(1 - beta2 ** step));
  const change = tf.mul(tf.div(m, tf.add(root, eps)), learningRate / (1 - beta1 ** step));
  parameter.assign(tf.sub(tf.mul(parameter, 1 - learningRate * weightDecay), change));
}
