import { beforeAll, describe, expect, test } from 'vitest';
import { adamw, cacheWrite } from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { expectClose } from './op-check.js';

const HYPER = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-6, weightDecay: 0.1 };

/** torch.optim.AdamW written down in float64. */
function expectedParameter(start: Float32Array, gradients: readonly Float32Array[]): number[] {
  return Array.from(start, (first, i) => {
    let [parameter, m, v] = [first, 0, 0];
    gradients.forEach((gradient, previous) => {
      const g = 0.5 * (gradient[i] as number);
      const step = previous + 1;
      m = HYPER.beta1 * m + (1 - HYPER.beta1) * g;
      v = HYPER.beta2 * v + (1 - HYPER.beta2) * g * g;
      const [mean, square] = [m / (1 - HYPER.beta1 ** step), v / (1 - HYPER.beta2 ** step)];
      parameter -= HYPER.learningRate * HYPER.weightDecay * parameter;
      parameter -= (HYPER.learningRate * mean) / (Math.sqrt(square) + HYPER.eps);
    });
    return parameter;
  });
}

function newState(values: Float32Array) {
  const variable = (from: Float32Array) => tf.tidy(() => tf.variable(tf.tensor1d(from)));
  const zeros = new Float32Array(values.length);
  return { parameter: variable(values), m: variable(zeros), v: variable(zeros) };
}

describe.each(testedBackends)('in-place ops on %s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  test('adamw is torch.optim.AdamW', () => {
    const start = randomNormal(37, 1);
    const gradients = [2, 3, 4].map((seed) => randomNormal(37, seed));
    const state = newState(start);
    const before = tf.memory();
    gradients.forEach((values, i) => {
      const gradient = tf.tensor1d(values);
      adamw({ ...state, gradient }, { ...HYPER, step: i + 1, gradientScale: 0.5 });
      gradient.dispose();
    });
    expect(tf.memory()).toMatchObject({
      numTensors: before.numTensors,
      numBytes: before.numBytes,
      numDataBuffers: before.numDataBuffers,
    });
    expectClose('parameter', state.parameter.dataSync(), expectedParameter(start, gradients));
    tf.dispose(Object.values(state));
  });

  test('adamw leaves clones and the given values as they were', () => {
    const values = Float32Array.of(1, 2);
    const state = newState(values);
    const snapshot = state.parameter.clone();
    const gradient = tf.tensor1d([1, 1]);
    adamw({ ...state, gradient }, { ...HYPER, step: 1 });
    expect([...snapshot.dataSync()]).toEqual([1, 2]);
    expect([...values]).toEqual([1, 2]);
    expect(state.parameter.dataSync()[0]).not.toBe(1);
    tf.dispose([...Object.values(state), snapshot, gradient]);
  });

  test('cacheWrite writes each row at its own position and leaves the rest', () => {
    const before = tf.memory();
    const added = randomNormal(2 * 2 * 3 * 4, 5);
    const x = tf.tensor4d(added, [2, 2, 3, 4]);
    const cache = cacheWrite(tf.ones([2, 5, 3, 4]), x, Int32Array.of(0, 3));
    const expected = new Float32Array(2 * 5 * 12).fill(1);
    expected.set(added.subarray(0, 24), 0);
    expected.set(added.subarray(24), (5 + 3) * 12);
    expect(cache.dataSync()).toEqual(expected);
    tf.dispose([x, cache]);
    expect(tf.memory().numTensors).toBe(before.numTensors);
  });

  test('cacheWrite keeps what is kept, and leaves clones as they were', () => {
    const x = tf.ones<tf.Rank.R4>([1, 1, 1, 2]);
    const start = tf.keep(tf.zeros<tf.Rank.R4>([1, 2, 1, 2]));
    const clone = start.clone();
    const cache = tf.tidy(() => cacheWrite(start, x, Int32Array.of(1)));
    expect([...cache.dataSync()]).toEqual([0, 0, 1, 1]);
    expect([...clone.dataSync()]).toEqual([0, 0, 0, 0]);
    expect(cache.kept).toBe(true);
    tf.dispose([x, cache, clone]);
  });

  test('cacheWrite refuses what does not fit', () => {
    const x = tf.ones<tf.Rank.R4>([1, 2, 1, 2]);
    const cache = tf.zeros<tf.Rank.R4>([1, 2, 1, 2]);
    expect(() => cacheWrite(cache, x, Int32Array.of(1))).toThrow(/2 tokens at 1 .* cache of 2/);
    expect(() => cacheWrite(cache, x, Int32Array.of(0, 0))).toThrow(/positions must be \[1\]/);
    tf.dispose([x, cache]);
  });
});
