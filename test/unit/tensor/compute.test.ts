import { beforeAll, describe, expect, test } from 'vitest';
import { computeOf } from '../../../src/tensor/compute.js';
import * as ops from '../../../src/tensor/ops/index.js';
import {
  type RoundedOperands,
  roundedOperands,
  toBf16,
} from '../../../src/tensor/rounded-operands.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { Weight, type WeightData } from '../../../src/tensor/weight.js';
import { computesOnGpu, testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { scoped } from './bits.js';
import { randomWeight, WEIGHT_KINDS } from './weights.js';

const ROWS = 37;
const M = 5;
/** Groups of 16, 32 and 64 divide the first; blocks of 64 straddle the rows of the second. */
const COLS = [192, 96];

interface Case {
  readonly name: string;
  readonly weight: Weight;
}

const kinds = Object.keys(WEIGHT_KINDS).filter((kind) => kind !== 'f32');
const stored = COLS.flatMap((cols) =>
  kinds.map((kind) => ({
    name: `${kind}, ${cols} wide`,
    data: randomWeight(kind, ROWS, cols).data,
  })),
);
/** A whole row is one stored group; kernels cut it. */
const perRow = ['int8 per row', 'int4', 'int4 with zeros'].map((kind) => {
  const { data } = randomWeight(kind, ROWS, 320);
  const first = data.zeros?.slice(0, ROWS);
  const scales = (data.scales as Float32Array).slice(0, ROWS);
  const whole: WeightData = { ...data, groupSize: 320, scales, ...(first && { zeros: first }) };
  return { name: `${kind}, one scale a row`, data: whole };
});
const TYPES = ['bf16', 'int8', 'bf16-dequantized'] as const;
const cases: readonly Case[] = [...stored, ...perRow].flatMap(({ name, data }) =>
  [...new Set(TYPES.map((type) => computeOf(type, 'train', data.format)))].map((compute) => ({
    name: `${name}, in ${compute}`,
    weight: new Weight(data, compute),
  })),
);

/** What a product is, and how far float32 sums may be from it: (4 + √n) · ε of the magnitudes. */
interface Bounded {
  readonly values: Float64Array;
  readonly bounds: Float64Array;
}

/**
 * How far a weight may be from its exact value where a GPU computes: a gradient multiplies codes and scales that are
 * both rounded to bf16, and weights whose groups are no multiples of 32 columns are rounded to bf16.
 */
function roundingOf(backend: string, { cols, data }: Weight, what: string): number {
  if (!computesOnGpu(backend)) return 0;
  if (what.startsWith('gradient')) return 2 ** -7;
  const { groupSize = cols } = data;
  const isWhole = cols % groupSize === 0 && (groupSize % 32 === 0 || groupSize === cols);
  return isWhole ? 0 : 2 ** -8;
}

/** The same, wherever each term of the sums may be off by this part of itself. */
function loosened({ values, bounds }: Bounded, K: number, part: number): Bounded {
  const factor = 1 + part / ((4 + Math.sqrt(K)) * 2 ** -23);
  return { values, bounds: bounds.map((bound) => bound * factor) };
}

/** a [M, K] · b [K, N] in float64, b found by k and n. */
function product(
  a: Float32Array,
  K: number,
  N: number,
  b: (k: number, n: number) => number,
): Bounded {
  const size = (a.length / K) * N;
  const [values, bounds] = [new Float64Array(size), new Float64Array(size)];
  const epsilon = (4 + Math.sqrt(K)) * 2 ** -23;
  for (let i = 0; i < size; i++) {
    const [m, n] = [Math.floor(i / N), i % N];
    let [sum, magnitude] = [0, 0];
    for (let k = 0; k < K; k++) {
      const term = (a[m * K + k] ?? 0) * b(k, n);
      sum += term;
      magnitude += Math.abs(term);
    }
    values[i] = sum;
    bounds[i] = epsilon * magnitude;
  }
  return { values, bounds };
}

function forward(weight: Weight, { operands, part }: Settings, x: Float32Array): Bounded {
  const { rows, cols } = weight;
  const w = operands.weight();
  const exact = product(operands.input(x), cols, rows, (k, n) => w[n * cols + k] ?? 0);
  return loosened(exact, cols, part);
}

function backward({ rows, cols }: Weight, { operands, part }: Settings, dy: Float32Array): Bounded {
  const w = operands.gradientWeight();
  const exact = product(operands.gradient(dy), rows, cols, (k, n) => w[k * cols + n] ?? 0);
  return loosened(exact, rows, part);
}

/** Every value within its bound; NaN is within none. */
function expectWithin(actual: Float32Array, { values, bounds }: Bounded): void {
  expect(actual.length).toBe(values.length);
  const excess = actual.map(
    (value, i) => Math.abs(value - (values[i] ?? 0)) / ((bounds[i] ?? 0) + 1e-30),
  );
  expect(excess.every((ratio) => ratio <= 1) ? 0 : Math.max(...excess)).toBe(0);
}

const inputOf = ({ cols }: Weight) => randomNormal(M * cols, 21);
const upstreamOf = ({ rows }: Weight) => randomNormal(M * rows, 22);

function runLinear(weight: Weight): Float32Array {
  return scoped(() => {
    const x = tf.tensor2d(inputOf(weight), [M, weight.cols]);
    return (ops.linear(x, weight).dataSync() as Float32Array).slice();
  });
}

function runLinearGradient(weight: Weight): Float32Array {
  return scoped(() => {
    const x = tf.tensor2d(inputOf(weight), [M, weight.cols]);
    const dy = tf.tensor2d(upstreamOf(weight), [M, weight.rows]);
    const dx = tf.grad((x) => ops.linear(x, weight))(x, dy);
    return (dx.dataSync() as Float32Array).slice();
  });
}

const TARGETS = [4, -1, 0, ROWS - 1, 4];

function runLosses(weight: Weight): Float32Array {
  return scoped(() => {
    const h = tf.tensor2d(inputOf(weight), [M, weight.cols]);
    const losses = ops.crossEntropy(h, weight, ops.int32<tf.Rank.R1>(TARGETS, [M]));
    return (losses.dataSync() as Float32Array).slice();
  });
}

function runLossGradient(weight: Weight): Float32Array {
  return scoped(() => {
    const h = tf.tensor2d(inputOf(weight), [M, weight.cols]);
    const targets = ops.int32<tf.Rank.R1>(TARGETS, [M]);
    const dh = tf.grad((h) => ops.crossEntropy(h as tf.Tensor2D, weight, targets))(h);
    return (dh.dataSync() as Float32Array).slice();
  });
}

/** Losses of logits, and how far the logits' own bounds and the sum over the row let them be. */
function lossesOf({ values, bounds }: Bounded): Bounded & { readonly gradients: Float64Array } {
  const losses = new Float64Array(M);
  const lossBounds = new Float64Array(M);
  const gradients = new Float64Array(M * ROWS);
  for (const [m, target] of TARGETS.entries()) {
    if (target < 0) continue;
    const logits = values.subarray(m * ROWS, (m + 1) * ROWS);
    const logSum = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    losses[m] = logSum - (logits[target] ?? 0);
    const rounding = (4 + Math.sqrt(ROWS)) * 2 ** -23 * Math.max(1, ...logits.map(Math.abs));
    lossBounds[m] = 2 * Math.max(...bounds.subarray(m * ROWS, (m + 1) * ROWS)) + 2 * rounding;
    logits.forEach((logit, v) => {
      gradients[m * ROWS + v] = Math.exp(logit - logSum) - (v === target ? 1 : 0);
    });
  }
  return { values: losses, bounds: lossBounds, gradients };
}

/** dh of exact dlogits; each is rounded to 8 bits, and inherits what its row's loss may be off. */
function lossGradient(weight: Weight, settings: Settings): Bounded {
  const { operands, part } = settings;
  const losses = lossesOf(forward(weight, settings, inputOf(weight)));
  const dlogits = Float32Array.from(losses.gradients);
  const w = operands.gradientWeight();
  const exact = product(dlogits, ROWS, weight.cols, (v, n) => w[v * weight.cols + n] ?? 0);
  const bounds = exact.bounds.map((bound, i) => {
    const [m, n] = [Math.floor(i / weight.cols), i % weight.cols];
    let slack = bound;
    for (let v = 0; v < ROWS; v++) {
      const d = Math.abs(dlogits[m * ROWS + v] ?? 0);
      slack +=
        ((2 ** -8 + part) * d + (losses.bounds[m] ?? 0)) * Math.abs(w[v * weight.cols + n] ?? 0);
    }
    return slack;
  });
  return { values: exact.values, bounds };
}

/** What is computed with a weight, and what it must be close to. */
interface Check {
  readonly name: string;
  readonly run: (weight: Weight) => Float32Array;
  readonly expected: (weight: Weight, settings: Settings) => Bounded;
}

/** The rounded operands of a product, and what else each value of the weight may be off. */
interface Settings {
  readonly operands: RoundedOperands;
  readonly part: number;
}

const CHECKS: readonly Check[] = [
  { name: 'linear', run: runLinear, expected: (w, o) => forward(w, o, inputOf(w)) },
  {
    name: 'gradient of linear',
    run: runLinearGradient,
    expected: (w, o) => backward(w, o, upstreamOf(w)),
  },
  { name: 'crossEntropy', run: runLosses, expected: (w, o) => lossesOf(forward(w, o, inputOf(w))) },
  { name: 'gradient of crossEntropy', run: runLossGradient, expected: lossGradient },
];

describe.each(testedBackends)('%s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  const onGpu = computesOnGpu(backend);
  const computed = cases.filter(({ weight }) => !onGpu || weight.compute === 'bf16');
  describe.each(CHECKS)('$name', ({ name: what, run, expected }) => {
    test.each(computed)('$name, within what float32 sums explain', ({ weight }) => {
      const result = run(weight);
      expect(result, 'float32 in its place').not.toEqual(run(new Weight(weight.data)));
      const part = roundingOf(backend, weight, what);
      expectWithin(result, expected(weight, { operands: roundedOperands(weight), part }));
    });
  });
});

describe('roundedOperands', () => {
  const scale = Math.fround(1.001);
  /** Codes 8, 9, 15, 0, 0, … under zero point 3, then 0 0 … under 0. */
  const int4: WeightData = {
    format: 'int4',
    rows: 1,
    cols: 16,
    codes: Uint8Array.of(0x98, 0x0f, 0, 0, 0xff, 0, 0, 0),
    groupSize: 8,
    scales: Float32Array.of(scale, 2),
    zeros: Uint8Array.of(3, 0),
  };

  test('bf16: ties go to the even neighbour, no number stays none', () => {
    const x = Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, -1 - 2 ** -8 - 2 ** -20, NaN, Infinity);
    expect([...toBf16(x)]).toEqual([1, 1 + 2 ** -6, -1 - 2 ** -7, NaN, Infinity]);
    expect([...toBf16(Float32Array.of(3.4e38, 1e-45))]).toEqual([Infinity, 0]);
  });

  test('bf16 of codes: exact code times exact scale; the gradient rounds the value', () => {
    const { weight, gradientWeight } = roundedOperands(new Weight(int4, 'bf16'));
    const exact = [5 * scale, 6 * scale, 12 * scale, -3 * scale].map(Math.fround);
    expect([...weight().subarray(0, 4), ...weight().subarray(8, 11)]).toEqual([
      ...exact,
      30,
      30,
      0,
    ]);
    expect([...gradientWeight().subarray(0, 4)]).toEqual([5, 6, 12, -3]);
  });

  test('bf16-dequantized: the product has the weight of the gradient', () => {
    const { weight, gradientWeight } = roundedOperands(new Weight(int4, 'bf16-dequantized'));
    expect([...weight().subarray(0, 4)]).toEqual([5, 6, 12, -3]);
    expect(gradientWeight()).toEqual(weight());
  });

  test('bf16 of a table: its values are rounded, but where blocks straddle rows the product', () => {
    const nf4: WeightData = {
      format: 'nf4',
      rows: 2,
      cols: 8,
      codes: Uint8Array.of(0x1f, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77),
      groupSize: 8,
      scales: Float32Array.of(3, 1),
    };
    const entry = Math.fround(-0.6961928009986877);
    const rounded = 3 * (toBf16(Float32Array.of(entry))[0] ?? 0);
    const { weight } = roundedOperands(new Weight(nf4, 'bf16'));
    expect([...weight().subarray(0, 3)]).toEqual([rounded, 3, 0]);
    const straddling = { ...nf4, groupSize: 16, scales: Float32Array.of(3) };
    const [first] = roundedOperands(new Weight(straddling, 'bf16')).weight();
    expect(first).toBe(toBf16(Float32Array.of(3 * entry))[0]);
    expect(first).not.toBe(rounded);
  });

  test('int8: the largest of each row and group becomes 127', () => {
    const { input, weight } = roundedOperands(new Weight(int4, 'int8'));
    const x = new Float32Array(32);
    x.set([1.27, 0.014], 0);
    x.set([-2.54, 0.054], 16);
    x.set([12.7, 1], 24);
    const rounded = [...input(x)].filter((value) => value !== 0);
    expect(rounded.map((value) => value.toFixed(3))).toEqual([
      '1.270',
      '0.010',
      '-2.540',
      '0.060',
      '12.700',
      '1.000',
    ]);
    expect(weight()[0]).toBe(Math.fround(5 * scale));
  });

  test('long groups are cut evenly, tiny and straddling ones are rounded value by value', () => {
    const x = Float32Array.from({ length: 384 }, (_, i) => (i === 0 ? 127 : 0.4));
    const kept = (groupSize: number, cols: number) => {
      const groups = 384 / groupSize;
      const weight = { format: 'int4', rows: 384 / cols, cols, groupSize } as const;
      const codes = new Uint8Array(192);
      const data = { ...weight, codes, scales: new Float32Array(groups).fill(1) };
      // Beside 127, 0.4 rounds to 0: what is left was scaled apart from it.
      return roundedOperands(new Weight(data, 'int8'))
        .input(x)
        .findIndex((value, i) => i > 0 && value !== 0);
    };
    expect([kept(384, 384), kept(192, 384), kept(96, 384)]).toEqual([128, 96, 96]);
    expect([kept(4, 384), kept(64, 96)]).toEqual([1, 1]);
  });
});
