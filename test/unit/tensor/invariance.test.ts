import { beforeAll, describe, expect, test } from 'vitest';
import { useBackend } from '../../../src/tensor/backends/index.js';
import { type Compute, computeOf } from '../../../src/tensor/compute.js';
import * as ops from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { Weight, type WeightFormat } from '../../../src/tensor/weight.js';
import { testedBackends } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { bitsOf, scoped } from './bits.js';
import { randomWeight, WEIGHT_KINDS } from './weights.js';

const COLS = 160;
const ROWS = 83;
const THREADS = [1, 2, 3];

/** A function of rows [M, COLS] that gives each row its own result. */
type RowFunction = (x: tf.Tensor2D) => tf.Tensor;

const rowFunctions: Record<string, RowFunction> = {
  rmsNorm: (x) => ops.rmsNorm(x, tf.tensor1d(randomNormal(COLS, 3)), 1e-5),
  layerNorm: (x) => ops.layerNorm(x, { weight: tf.tensor1d(randomNormal(COLS, 3)), eps: 1e-5 }),
  'linear, trainable': (x) => ops.linear(x, matrix()),
  roundedLinear: (x) => ops.roundedLinear(x, matrix()),
  'gradient of roundedLinear': gradientOf((x) => ops.roundedLinear(x, matrix())),
  'crossEntropy, rounded': (x) => ops.crossEntropy(x, matrix(), targetsOf(x), undefined, true),
  'gradient of crossEntropy, rounded': gradientOf((x) =>
    ops.crossEntropy(x, matrix(), targetsOf(x), undefined, true),
  ),
  'crossEntropy, trainable': (x) => ops.crossEntropy(x, matrix(), targetsOf(x)),
  tokenScores: (x) => scoresOf(x, matrix()),
  'gradient of rmsNorm': gradientOf((x) =>
    ops.rmsNorm(x, tf.tensor1d(randomNormal(COLS, 3)), 1e-5),
  ),
  'gradient of crossEntropy': gradientOf((x) => ops.crossEntropy(x, matrix(), targetsOf(x))),
};
for (const kind of Object.keys(WEIGHT_KINDS)) {
  const { data } = randomWeight(kind, ROWS, COLS);
  for (const compute of computesOf(data.format)) {
    const weight = new Weight(data, compute);
    rowFunctions[`linear, ${kind}, ${compute}`] = (x) => ops.linear(x, weight);
    rowFunctions[`tokenScores, ${kind}, ${compute}`] = (x) => scoresOf(x, weight);
    rowFunctions[`gradient of linear, ${kind}, ${compute}`] = gradientOf((x) =>
      ops.linear(x, weight),
    );
  }
}

/** What weights of a format compute in. */
function computesOf(format: WeightFormat): Set<Compute> {
  return new Set(
    (['f32', 'bf16', 'int8'] as const).map((choice) => computeOf(choice, 'train', format)),
  );
}

for (const compute of ['f32', 'bf16'] as const) {
  const weight = new Weight(randomWeight('int4', ROWS, COLS).data, compute);
  const lora: RowFunction = (x) => {
    const a = tf.tensor2d(randomNormal(5 * COLS, 5), [5, COLS]);
    const b = tf.tensor2d(randomNormal(ROWS * 5, 6), [ROWS, 5]);
    return ops.loraLinear(x, { weight, a, b, scale: 0.5 });
  };
  rowFunctions[`loraLinear, ${compute}`] = lora;
  rowFunctions[`gradient of loraLinear, ${compute}`] = gradientOf(lora);
}

const matrix = () => tf.tensor2d(randomNormal(ROWS * COLS, 4), [ROWS, COLS]);
const targetsOf = (x: tf.Tensor2D) =>
  ops.int32<tf.Rank.R1>(new Array(x.shape[0]).fill(17), [x.shape[0]]);

const scoresOf = (h: tf.Tensor2D, weight: Weight | tf.Tensor2D) =>
  ops.tokenScores({ h, weight, bias: undefined, targets: targetsOf(h), rounded: false }).losses;

function gradientOf(fn: RowFunction): RowFunction {
  return (x) => tf.grad((x) => tf.sum(tf.square(fn(x as tf.Tensor2D))))(x);
}

/** Results of each row, as bits, of the rows [from, to) of x. */
function bitsOfRows(fn: RowFunction, x: Float32Array, from: number, to: number): Uint32Array {
  return scoped(() => {
    const rows = tf.tensor2d(x.slice(from * COLS, to * COLS), [to - from, COLS]);
    return bitsOf(fn(rows));
  });
}

describe.runIf(testedBackends.includes('native'))('on native, bit for bit', () => {
  beforeAll(async () => {
    await useBackend('native', { device: 'cpu', threads: 2 });
  });

  test.each(Object.entries(rowFunctions))('a row of %s does not depend on the batch', (_, fn) => {
    const M = 37;
    const x = randomNormal(M * COLS, 1);
    const whole = bitsOfRows(fn, x, 0, M);
    const width = whole.length / M;
    for (const [from, to] of [
      [0, 1],
      [5, 6],
      [2, 9],
      [30, 37],
      [0, 36],
    ] as const) {
      const part = bitsOfRows(fn, x, from, to);
      expect(part).toEqual(whole.slice(from * width, to * width));
    }
  });

  test.each(Object.entries(rowFunctions))('%s does not depend on the threads', async (_, fn) => {
    const x = randomNormal(9 * COLS, 1);
    const results: Uint32Array[] = [];
    for (const threads of THREADS) {
      await useBackend('native', { device: 'cpu', threads });
      results.push(bitsOfRows(fn, x, 0, 9));
    }
    await useBackend('native', { device: 'cpu', threads: 2 });
    for (const result of results) expect(result).toEqual(results[0]);
  });
});
