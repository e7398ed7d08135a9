import { beforeAll, describe, expect, test } from 'vitest';
import { type ComputeChoice, computeOf } from '../../../src/tensor/compute.js';
import * as ops from '../../../src/tensor/ops/index.js';
import { toBf16 } from '../../../src/tensor/rounded-operands.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { Weight } from '../../../src/tensor/weight.js';
import { computesOnGpu, testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { randomWeight } from './weights.js';

const [ROWS, COLS, R] = [19, 96, 5];

/** An op whose result may be held, of inputs that may be. */
interface HeldCase {
  readonly name: string;
  readonly shapes: readonly number[][];
  readonly run: (inputs: readonly tf.Tensor[], held: ops.Held) => tf.Tensor;
  /** Whether the gradient reads the result, which is rounded then. */
  readonly savesResult?: boolean;
}

function weightOf(kind: string, choice: ComputeChoice): Weight {
  const { data } = randomWeight(kind, ROWS, COLS);
  return new Weight(data, computeOf(choice, 'train', data.format));
}

const CHOICES = ['bf16', 'f32', 'bf16-dequantized'] as const;
const WEIGHTS = Object.fromEntries(
  CHOICES.map((choice) => [`nf4, ${choice}`, weightOf('nf4', choice)]),
);

const linearCases = Object.entries(WEIGHTS).flatMap(([kind, weight]): HeldCase[] => [
  {
    name: `linear, ${kind}`,
    shapes: [[2, 3, COLS], [ROWS]],
    run: ([x, bias], held) => ops.linear(x as tf.Tensor, weight, bias as tf.Tensor1D, held),
  },
  {
    name: `loraLinear, ${kind}`,
    shapes: [
      [70, COLS],
      [R, COLS],
      [ROWS, R],
      [70, COLS],
    ],
    run: ([x, a, b, dropped], held) => {
      const matrices = { weight, a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 0.5 };
      return ops.loraLinear(x as tf.Tensor, matrices, { dropped: dropped as tf.Tensor, held });
    },
  },
]);

const CASES: readonly HeldCase[] = [
  ...linearCases,
  {
    name: 'linear, trainable',
    shapes: [
      [5, 33],
      [7, 33],
    ],
    run: ([x, w], held) => ops.linear(x as tf.Tensor, w as tf.Tensor2D, undefined, held),
  },
  {
    name: 'roundedLinear',
    shapes: [[5, 33], [7, 33], [7]],
    run: ([x, w, bias], held) =>
      ops.roundedLinear(x as tf.Tensor, w as tf.Tensor2D, bias as tf.Tensor1D, held),
  },
  {
    name: 'rmsNorm',
    shapes: [[4, 37], [37]],
    run: ([x, w], held) => ops.rmsNorm(x as tf.Tensor, w as tf.Tensor1D, 1e-2, held),
  },
  {
    name: 'layerNorm',
    shapes: [[4, 37], [37], [37]],
    run: ([x, weight, bias], held) => {
      const parts = { weight: weight as tf.Tensor1D, bias: bias as tf.Tensor1D };
      return ops.layerNorm(x as tf.Tensor, { ...parts, eps: 1e-2, held });
    },
  },
  {
    name: 'rope',
    shapes: [[1, 3, 2, 10]],
    run: ([x], held) => {
      const angles = randomNormal(9, 8);
      const [cos, sin] = [Math.cos, Math.sin].map((f) => tf.tensor3d(angles.map(f), [1, 3, 3]));
      return ops.rope(x as tf.Tensor4D, cos as tf.Tensor3D, sin as tf.Tensor3D, held);
    },
  },
  {
    name: 'activation',
    shapes: [[3, 37]],
    run: ([x], held) => ops.activation(x as tf.Tensor, 'gelu', held),
  },
  {
    name: 'gatedMlp',
    shapes: [
      [3, 37],
      [3, 37],
    ],
    run: ([gate, up], held) => ops.gatedMlp(gate as tf.Tensor, up as tf.Tensor, 'silu', held),
  },
  ...[true, false].map(
    (training): HeldCase => ({
      name: `attention${training ? ' in training' : ''}`,
      shapes: [
        [1, 70, 4, 20],
        [1, 70, 2, 20],
        [1, 70, 2, 20],
      ],
      savesResult: true,
      run: (inputs, held) => {
        const [q, k, v] = inputs as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
        const last = ops.int32(
          Array.from({ length: 70 }, (_, t) => t),
          [1, 70],
        );
        const options = { first: tf.zerosLike(last), last, scale: 0.3, compute: 'bf16' } as const;
        return ops.attention(q, k, v, { ...options, training, held } as ops.AttentionOptions);
      },
    }),
  ),
];

/** The result, and its gradients. */
function evaluate(
  { shapes, run }: HeldCase,
  { held, inputs }: { readonly held?: ops.Held; readonly inputs?: ops.Held },
): Float32Array[] {
  const made = tf.tidy(() => {
    const tensors = shapes.map((shape, i) =>
      tf.tensor(toBf16(randomNormal(tf.util.sizeFromShape([...shape]), i + 1)), [...shape]),
    );
    const of = (...xs: tf.Tensor[]) =>
      run(
        xs.map((x) => ops.hold(x, inputs)),
        held,
      );
    const y = of(...tensors);
    const dy = tf.tensor(randomNormal(y.size, 99), y.shape);
    return [y, ...tf.grads(of)(tensors, dy)];
  });
  const values = made.map((x) => x.dataSync<'float32'>() as Float32Array);
  tf.dispose(made);
  return values;
}

/** As near, in the Euclidean norm, as rounding to bf16 leaves values. */
function expectNear(actual: Float32Array, expected: Float32Array): void {
  const norm = (values: Float32Array) => Math.hypot(...values);
  const difference = actual.map((value, i) => value - (expected[i] ?? 0));
  expect(norm(difference)).toBeLessThan(2 ** -8 * norm(expected));
}

describe.each(testedBackends)('%s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  // A GPU has no kernels for bf16-dequantized.
  const runs = (name: string) => !computesOnGpu(backend) || !name.includes('dequantized');
  const cases = CASES.filter(({ name }) => runs(name));
  test.each(cases)('$name: its result rounded, the gradient of what was rounded', (op) => {
    const { numTensors } = tf.memory();
    const [y, ...gradients] = evaluate(op, {}) as [Float32Array, ...Float32Array[]];
    const [held, ...ofHeld] = evaluate(op, { held: 'bf16' }) as [Float32Array, ...Float32Array[]];
    expect(held).toEqual(toBf16(y));
    for (const [i, gradient] of gradients.entries()) {
      if (!op.savesResult) expect(ofHeld[i]).toEqual(gradient);
      else expectNear(ofHeld[i] as Float32Array, gradient);
    }
    // The bits do not depend on how the inputs are kept.
    expect(evaluate(op, { held: 'bf16', inputs: 'bf16' })).toEqual([held, ...ofHeld]);
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test('merged and gated layers: the bits of layers alone', () => {
    for (const [kind, weight] of Object.entries(WEIGHTS)) {
      if (!runs(kind)) continue;
      const layers = [{ weight }, { weight, bias: tf.tensor1d(randomNormal(ROWS, 3)) }];
      const [gate, up] = layers as [ops.LinearLayer, ops.LinearLayer];
      const made = tf.tidy(() => {
        const x = tf.tensor(randomNormal(33 * COLS, 1), [33, COLS]);
        const merged = ops.mergedLinear(x, layers, 'bf16');
        const alone = layers.map(({ bias }) => ops.linear(x, weight, bias, 'bf16'));
        const gated = ops.gatedLinear(x, { gate, up }, 'silu', 'bf16');
        const [a, b] = alone as [tf.Tensor, tf.Tensor];
        return [...merged, gated, ...alone, ops.gatedMlp(a, b, 'silu', 'bf16')];
      });
      const values = made.map((y) => y.dataSync());
      expect(values.slice(0, 3)).toEqual(values.slice(3));
      tf.dispose([...made, up.bias as tf.Tensor1D]);
    }
  });
});
