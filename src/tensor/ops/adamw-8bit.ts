import { dynamicMap, nearestCode } from '../dynamic-map.js';
import * as tf from '../tfjs.js';
import type { AdamWHyper } from './adamw.js';
import { expectShape, hasKernel, ownStorage, runKernel } from './fused.js';

/** Inputs parameter, gradient, m, v, mScales, vScales; attributes AdamWHyper; no output: updates in place. */
export const ADAMW_8BIT = 'LlmkitAdamW8bit';

/** Elements that share a scale. */
const BLOCK = 256;

/** Running means in 8 bits. */
export interface RoundedMoments {
  /** int32 [⌈n / 4⌉]: four codes in each, as bytes. */
  readonly m: tf.Variable;
  readonly v: tf.Variable;
  /** [⌈n / 256⌉]: the largest magnitude of each block. */
  readonly mScales: tf.Variable;
  readonly vScales: tf.Variable;
}

/** A parameter of n elements, its gradient and its two running means. */
export interface AdamW8bitState extends RoundedMoments {
  readonly parameter: tf.Variable;
  readonly gradient: tf.Tensor;
}

/** The running means before the first step. @param onMade told of each tensor */
export function newRoundedMoments(
  size: number,
  onMade: (tensor: tf.Variable) => void = () => undefined,
): RoundedMoments {
  const [words, blocks] = shapesOf(size);
  const zeros = (length: number, dtype: 'int32' | 'float32') => {
    const made = tf.tidy(() => tf.variable(tf.zeros([length], dtype), false));
    onMade(made);
    return made;
  };
  return {
    m: zeros(words, 'int32'),
    v: zeros(words, 'int32'),
    mScales: zeros(blocks, 'float32'),
    vScales: zeros(blocks, 'float32'),
  };
}

/** Bytes of the running means of so many elements. */
export function roundedMomentBytes(size: number): number {
  const [words, blocks] = shapesOf(size);
  return 2 * 4 * (words + blocks);
}

function shapesOf(size: number): [words: number, blocks: number] {
  return [Math.ceil(size / 4), Math.ceil(size / BLOCK)];
}

/**
 * One AdamW update of the parameter and its running means, in place: the means are read from 8 bits, and rounded to
 * them again after the parameter's step.
 *
 * @throws LlmkitError `shape`
 * @see https://arxiv.org/abs/2110.02861
 */
export function adamw8bit(state: AdamW8bitState, hyper: AdamWHyper): void {
  const { parameter, gradient, m, v, mScales, vScales } = state;
  const [words, blocks] = shapesOf(parameter.size);
  expectShape('adamw8bit: gradient', gradient.shape, parameter.shape);
  for (const codes of [m, v]) expectShape('adamw8bit: codes', codes.shape, [words]);
  for (const scales of [mScales, vScales]) expectShape('adamw8bit: scales', scales.shape, [blocks]);
  if (!hasKernel(ADAMW_8BIT)) {
    updateOnHost(state, hyper);
    return;
  }
  for (const variable of [parameter, m, v, mScales, vScales]) ownStorage(variable);
  runKernel<tf.Tensor[]>(ADAMW_8BIT, { inputs: { ...state }, attrs: hyper });
}

const MAPS = { m: dynamicMap(true), v: dynamicMap(false) } as const;

/** A running mean on the host, decoded. */
interface Decoded {
  readonly map: Float32Array;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly values: Float32Array;
}

/** tfjs has no ops for bytes, and no backend without the kernel is meant to be fast. */
function updateOnHost(state: AdamW8bitState, hyper: AdamWHyper): void {
  const { parameter, gradient } = state;
  const { step, learningRate, beta1, beta2, eps, weightDecay, gradientScale = 1 } = hyper;
  const [p, g] = [parameter, gradient].map((tensor) => floatsOf(tensor)) as [
    Float32Array,
    Float32Array,
  ];
  const m = decode(MAPS.m, state.m, state.mScales, p.length);
  const v = decode(MAPS.v, state.v, state.vScales, p.length);
  const stepSize = learningRate / (1 - beta1 ** step);
  const root = Math.sqrt(1 - beta2 ** step);
  for (let i = 0; i < p.length; i++) {
    const gi = (g[i] as number) * gradientScale;
    const mi = beta1 * (m.values[i] as number) + (1 - beta1) * gi;
    const vi = beta2 * (v.values[i] as number) + (1 - beta2) * gi * gi;
    const change = (stepSize * mi) / (Math.sqrt(vi) / root + eps);
    p[i] = (p[i] as number) * (1 - learningRate * weightDecay) - change;
    m.values[i] = mi;
    v.values[i] = vi;
  }
  tf.tidy(() => parameter.assign(tf.tensor(p, parameter.shape)));
  encode(m, state.m, state.mScales);
  encode(v, state.v, state.vScales);
}

/** A copy of the values. */
function floatsOf(tensor: tf.Tensor): Float32Array {
  return Float32Array.from(tensor.dataSync());
}

function decode(
  map: Float32Array,
  words: tf.Variable,
  scales: tf.Variable,
  length: number,
): Decoded {
  const codes = new Uint8Array(Int32Array.from(words.dataSync()).buffer);
  const scale = floatsOf(scales);
  const value = (_: unknown, i: number) =>
    (map[codes[i] as number] as number) * (scale[Math.floor(i / BLOCK)] as number);
  return { map, codes, scales: scale, values: Float32Array.from({ length }, value) };
}

function encode({ map, codes, scales, values }: Decoded, to: tf.Variable, toScales: tf.Variable) {
  for (let block = 0; block < scales.length; block++) {
    const part = values.subarray(block * BLOCK, (block + 1) * BLOCK);
    const largest = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    scales[block] = largest;
    part.forEach((value, i) => {
      codes[block * BLOCK + i] = nearestCode(map, largest > 0 ? Math.fround(value / largest) : 0);
    });
  }
  tf.tidy(() => {
    to.assign(tf.tensor(new Int32Array(codes.buffer), to.shape, 'int32'));
    toScales.assign(tf.tensor(scales, toScales.shape));
  });
}
