import { beforeAll, describe, expect, test } from 'vitest';
import * as ops from '../../../src/tensor/ops/index.js';
import { toBf16 } from '../../../src/tensor/rounded-operands.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { scoped } from './bits.js';

const [M, ROWS, COLS] = [21, 37, 83];
const x = randomNormal(M * COLS, 1);
const weight = randomNormal(ROWS * COLS, 2);
const bias = randomNormal(ROWS, 3);
const dy = randomNormal(M * ROWS, 4);
const TARGETS = Array.from({ length: M }, (_, i) => (i % 4 === 0 ? -1 : (5 * i) % ROWS));

/** Element k of row i of the left operand, element k of column j of the right one. */
interface Operands {
  readonly left: (i: number, k: number) => number;
  readonly right: (k: number, j: number) => number;
}

/** Each value within (4 + √K) · ε of the magnitudes of its K terms in float64. */
function expectProduct(
  got: Float32Array,
  [I, J, K]: readonly [number, number, number],
  { left, right }: Operands,
): void {
  expect(got.length).toBe(I * J);
  const epsilon = (4 + Math.sqrt(K)) * 2 ** -23;
  let worst = 0;
  got.forEach((value, at) => {
    const [i, j] = [Math.floor(at / J), at % J];
    let [sum, magnitude] = [0, 0];
    for (let k = 0; k < K; k++) {
      const term = left(i, k) * right(k, j);
      sum += term;
      magnitude += Math.abs(term);
    }
    worst = Math.max(worst, Math.abs(value - sum) / (epsilon * magnitude));
  });
  expect(worst).toBeLessThanOrEqual(1);
}

const at = (values: Float32Array, cols: number) => (row: number, col: number) =>
  values[row * cols + col] ?? 0;

const tensors = () => ({
  x: tf.tensor3d(x, [3, M / 3, COLS]),
  w: tf.tensor2d(weight, [ROWS, COLS]),
  b: tf.tensor1d(bias),
});

const valuesOf = (tensor: tf.Tensor) => (tensor.dataSync() as Float32Array).slice();

describe.each(testedBackends)('roundedLinear on %s', (backend) => {
  beforeAll(() => useTestBackend(backend));
  const [X, W, DY] = [at(toBf16(x), COLS), at(toBf16(weight), COLS), at(toBf16(dy), ROWS)];

  test('is the product of the rounded operands', () => {
    const y = scoped(() => {
      const { x, w } = tensors();
      const y = ops.roundedLinear(x, w);
      expect(y.shape).toEqual([3, M / 3, ROWS]);
      expect(valuesOf(y)).not.toEqual(valuesOf(ops.linear(x, w)));
      return valuesOf(y);
    });
    expectProduct(y, [M, ROWS, COLS], { left: X, right: (k, j) => W(j, k) });
  });

  test('has gradients that are products of the rounded operands', () => {
    const [dx, dw, db] = scoped(() => {
      const { x, w, b } = tensors();
      const upstream = tf.tensor3d(dy, [3, M / 3, ROWS]);
      const gradients = tf.grads((x, w, b) =>
        ops.roundedLinear(x as tf.Tensor, w as tf.Tensor2D, b as tf.Tensor1D),
      )([x, w, b], upstream);
      return gradients.map(valuesOf) as [Float32Array, Float32Array, Float32Array];
    });
    expectProduct(dx, [M, COLS, ROWS], { left: DY, right: W });
    expectProduct(dw, [ROWS, COLS, M], { left: (i, k) => DY(k, i), right: X });
    expectProduct(db, [1, ROWS, M], { left: () => 1, right: at(dy, ROWS) });
  });

  test('crossEntropy rounds the products of a trained head in the same way', () => {
    const scaled = x.map((value) => 0.1 * value);
    const run = (rounded: boolean) =>
      scoped(() => {
        const targets = ops.int32<tf.Rank.R1>(TARGETS, [M]);
        const lossOf = (h: tf.Tensor, w: tf.Tensor, b: tf.Tensor) =>
          ops.crossEntropy(h as tf.Tensor2D, w as tf.Tensor2D, targets, b as tf.Tensor1D, rounded);
        const { w, b } = tensors();
        const h = tf.tensor2d(scaled, [M, COLS]);
        return [lossOf(h, w, b), ...tf.grads(lossOf)([h, w, b])].map(valuesOf);
      });
    const [rounded, exact] = [run(true), run(false)];
    rounded.forEach((values, i) => {
      const want = exact[i] as Float32Array;
      const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const off = values.reduce(
        (most, value, j) => Math.max(most, Math.abs(value - (want[j] ?? 0))),
        0,
      );
      // Three roundings to 8 bits: of both operands of the logits, and of their gradient.
      expect(off / largest).toBeLessThanOrEqual(3 * 2 ** -8);
      expect(off).toBeGreaterThan(0);
    });
  });

  test('refuses shapes that do not fit', () => {
    scoped(() => {
      const { x, w } = tensors();
      expect(() => ops.roundedLinear(x, tf.zeros([ROWS, COLS + 1]))).toThrow(/roundedLinear: x/);
      expect(() => ops.roundedLinear(x, w, tf.zeros([ROWS + 1]))).toThrow(/roundedLinear: bias/);
    });
  });
});
