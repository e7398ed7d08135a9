import { beforeAll, describe, expect, test } from 'vitest';
import { LlmkitError } from '../../../src/errors.js';
import { type ComputeChoice, computeOf } from '../../../src/tensor/compute.js';
import * as ops from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { Weight } from '../../../src/tensor/weight.js';
import { isInvariant, testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { bitsOf, scoped } from './bits.js';
import { randomWeight, WEIGHT_KINDS } from './weights.js';

const COLS = 192;
/** Heights of queries, keys and values; the last is no multiple of a tile. */
const ROWS = [300, 64, 37];

const CHOICES = ['int8', 'bf16', 'f32'] as const;

const biasOf = (rows: number) => tf.tensor1d(randomNormal(rows, rows));
const inputOf = (M: number, cols = COLS) => tf.tensor3d(randomNormal(M * cols, 1), [1, M, cols]);

/** Layers of a kind in each compute type, and of kinds and types that want x in different forms. */
const cases: Record<string, readonly Weight[]> = {};
for (const choice of CHOICES) {
  for (const kind of Object.keys(WEIGHT_KINDS)) {
    cases[`${kind}, ${choice}`] = ROWS.map((rows) => weightOf(kind, rows, choice));
  }
}
cases.mixed = ['int4', 'int8 with zeros', 'int4', 'int4', 'nf4', 'bf16'].map((kind, i) =>
  weightOf(kind, 20 + i, CHOICES[Math.floor(i / 2)] ?? 'f32'),
);

describe.each(testedBackends)('linear layers with what surrounds them on %s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  const several = isInvariant(backend)
    ? Object.entries(cases).filter(([, weights]) => computes(backend, weights))
    : [];
  test.each(several)('%s: the bits of separate products', (_, weights) => {
    const layers = () =>
      weights.map((weight, i) => ({ weight, bias: i % 2 ? undefined : biasOf(weight.rows) }));
    for (const M of [1, 2, 33]) {
      const [merged, separate] = [ops.mergedLinear, separately].map((run) =>
        scoped(() => run(inputOf(M), layers()).map((y) => [y.shape, bitsOf(y)])),
      );
      expect(merged).toEqual(separate);
    }
  });

  test.each(several)('%s onto a residual: the bits of a sum', (_, weights) => {
    for (const M of [1, 33]) {
      for (const weight of weights) {
        const parts = () => ({ weight, bias: biasOf(weight.rows) });
        const [sum, separate] = [ops.linearResidual, addedLater].map((run) =>
          scoped(() => bitsOf(run(inputOf(M), parts(), inputOf(M, weight.rows)))),
        );
        expect(sum).toEqual(separate);
      }
    }
  });

  test.each(several)('%s, gated: the bits of separate products', (_, weights) => {
    const [gate, other] = weights as [Weight, Weight];
    const up = new Weight(gate.data, other.compute);
    for (const M of [1, 33]) {
      const layers = () => ({
        gate: { weight: gate },
        up: { weight: up, bias: biasOf(gate.rows) },
      });
      const [gated, separate] = [ops.gatedLinear, gatedLater].map((run) =>
        scoped(() => bitsOf(run(inputOf(M), layers(), 'silu'))),
      );
      expect(gated).toEqual(separate);
    }
  });

  test.each(several)('%s, activated: the bits of a product and a function', (_, [weight]) => {
    const parts = () => ({ weight: weight as Weight, bias: biasOf((weight as Weight).rows) });
    for (const name of ops.ACTIVATION_NAMES) {
      const [activated, separate] = [ops.activatedLinear, activatedLater].map((run) =>
        scoped(() => bitsOf(run(inputOf(3), parts(), name))),
      );
      expect(activated).toEqual(separate);
    }
  });

  test.each(several)('%s, with low-rank updates: the bits of separate products', (_, weights) => {
    const [gate, other] = weights as [Weight, Weight];
    const up = new Weight(gate.data, other.compute);
    const layers = () => ({
      gate: { weight: gate, bias: biasOf(gate.rows), update: updateOf(gate, 5, 1) },
      up: { weight: up, update: updateOf(up, 8, 3) },
    });
    for (const M of [1, 2, 33]) {
      const bits = (run: (x: tf.Tensor) => tf.Tensor) => scoped(() => bitsOf(run(inputOf(M))));
      expect(bits((x) => ops.gatedLinear(x, layers(), 'silu'))).toEqual(
        bits((x) => gatedLater(x, layers(), 'silu')),
      );
      expect(bits((x) => ops.activatedLinear(x, layers().gate, 'gelu'))).toEqual(
        bits((x) => activatedLater(x, layers().gate, 'gelu')),
      );
      const residual = () => inputOf(M, gate.rows);
      expect(bits((x) => ops.linearResidual(x, layers().gate, residual()))).toEqual(
        bits((x) => addedLater(x, layers().gate, residual())),
      );
      const both = () => Object.values(layers());
      expect(bits((x) => tf.stack(ops.mergedLinear(x, both())))).toEqual(
        bits((x) => tf.stack(separately(x, both()))),
      );
    }
  });

  test('trainable matrices and gradients', () => {
    const frozen = randomWeight('int4', 8, COLS);
    const layers = () => [
      { weight: frozen },
      { weight: tf.tensor2d(randomNormal(5 * COLS, 2), [5, COLS]), bias: biasOf(5) },
    ];
    const [merged, separate] = [ops.mergedLinear, separately].map((run) =>
      scoped(() => {
        const loss = (x: tf.Tensor) => tf.addN(run(x, layers()).map((y) => tf.sum(tf.square(y))));
        return bitsOf(tf.grad(loss)(inputOf(3)));
      }),
    );
    expect(merged).toEqual(separate);
  });

  test('activated, with gradients', () => {
    const weight = randomWeight('int4', 8, COLS);
    const [activated, separate] = [ops.activatedLinear, activatedLater].map((run) =>
      scoped(() => {
        const loss = (x: tf.Tensor) => tf.sum(tf.square(run(x, { weight }, 'gelu')));
        return bitsOf(tf.grad(loss)(inputOf(3)));
      }),
    );
    expect(activated).toEqual(separate);
  });

  test('names the shape that does not fit', () => {
    const weight = randomWeight('int4', 8, COLS);
    const x = tf.zeros([1, COLS]);
    const narrow = () => ops.mergedLinear(tf.zeros([1, 32]), [{ weight }]);
    expect(narrow).toThrow(LlmkitError);
    expect(narrow).toThrow(/x must be \[\.\.\., 192\], got \[1, 32\]/);
    const short = () => ops.mergedLinear(x, [{ weight, bias: tf.zeros([7]) as tf.Tensor1D }]);
    expect(short).toThrow(/bias must be \[8\], got \[7\]/);
    x.dispose();
  });
});

/** A GPU has no kernels for int8. */
function computes(backend: string, weights: readonly Weight[]): boolean {
  return backend !== 'cuda' || weights.every(({ compute }) => compute !== 'int8');
}

function weightOf(kind: string, rows: number, choice: ComputeChoice): Weight {
  const { data } = randomWeight(kind, rows, COLS);
  return new Weight(data, computeOf(choice, 'generate', data.format));
}

function updateOf({ rows, cols }: Weight, rank: number, seed: number): ops.LowRank {
  const a = tf.tensor2d(randomNormal(rank * cols, seed), [rank, cols]);
  const b = tf.tensor2d(randomNormal(rows * rank, seed + 1), [rows, rank]);
  return { a, b, scale: 0.75 };
}

function alone(x: tf.Tensor, { weight, bias, update }: ops.LinearLayer): tf.Tensor {
  if (update === undefined) return ops.linear(x, weight, bias);
  return ops.loraLinear(x, { weight: weight as Weight, bias, ...update });
}

function addedLater(x: tf.Tensor, layer: ops.LinearLayer, residual: tf.Tensor) {
  return ops.addResidual(residual, alone(x, layer));
}

function activatedLater(x: tf.Tensor, layer: ops.LinearLayer, name: ops.ActivationName) {
  return ops.activation(alone(x, layer), name);
}

function gatedLater(x: tf.Tensor, { gate, up }: ops.GatedLayers, name: ops.ActivationName) {
  const [gated, linear] = separately(x, [gate, up]) as [tf.Tensor, tf.Tensor];
  return ops.gatedMlp(gated, linear, name);
}

function separately(x: tf.Tensor, layers: readonly ops.LinearLayer[]): tf.Tensor[] {
  return layers.map((layer) => alone(x, layer));
}
