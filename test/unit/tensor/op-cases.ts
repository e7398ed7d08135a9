import * as ops from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { dequantize } from '../../../src/tensor/weight.js';
import { attentionCases } from './attention-cases.js';
import { disposing, type OpCase } from './op-check.js';
import { randomWeight, WEIGHT_KINDS } from './weights.js';

const ROWS = 19;
const COLS = 96;

const linearCases: OpCase[] = Object.keys(WEIGHT_KINDS).map((kind) => {
  const weight = randomWeight(kind, ROWS, COLS);
  return {
    name: `linear, ${kind}`,
    shapes: [[2, 3, COLS], [ROWS]],
    run: (x, bias) => ops.linear(x as tf.Tensor, weight, bias as tf.Tensor1D),
    expected: (x, bias) =>
      product(x as Float32Array, dequantize(weight.data), COLS).map(
        (y, i) => y + (bias?.[i % ROWS] ?? 0),
      ),
  };
});

const denseLinearCases: OpCase[] = [
  {
    name: 'linear, trainable, with bias',
    shapes: [[5, 33], [7, 33], [7]],
    run: (x, weight, bias) =>
      ops.linear(x as tf.Tensor, weight as tf.Tensor2D, bias as tf.Tensor1D),
  },
  {
    name: 'linear, trainable, rank 3',
    shapes: [
      [2, 3, 17],
      [20, 17],
    ],
    run: (x, weight) => ops.linear(x as tf.Tensor, weight as tf.Tensor2D),
    expected: (x, weight) => product(x as Float32Array, weight as Float32Array, 17),
  },
];

const R = 5;

const loraLinearCases: OpCase[] = ['f32', 'nf4 double', 'int4 with zeros'].flatMap((kind) => {
  const weight = randomWeight(kind, ROWS, COLS);
  const run = (x: tf.Tensor, a: tf.Tensor, b: tf.Tensor, more: tf.Tensor[]) => {
    const pair = { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 0.5 };
    const [bias, dropped] = more as [tf.Tensor1D | undefined, tf.Tensor | undefined];
    return ops.loraLinear(x, { weight, bias, ...pair }, dropped === undefined ? {} : { dropped });
  };
  const shapes = [
    [2, 3, COLS],
    [R, COLS],
    [ROWS, R],
  ];
  return [
    {
      name: `loraLinear, ${kind}`,
      shapes: [...shapes, [ROWS]],
      run: (x, a, b, ...more) => run(x as tf.Tensor, a as tf.Tensor, b as tf.Tensor, more),
      expected: (x, a, b, bias) => {
        const low = product(x as Float32Array, a as Float32Array, COLS).map((y) => 0.5 * y);
        const update = product(Float32Array.from(low), b as Float32Array, R);
        return product(x as Float32Array, dequantize(weight.data), COLS).map(
          (y, i) => y + (bias?.[i % ROWS] ?? 0) + (update[i] ?? 0),
        );
      },
    },
    {
      name: `loraLinear with dropout, ${kind}`,
      shapes: [...shapes, [ROWS], [2, 3, COLS]],
      run: (x, a, b, ...more) => run(x as tf.Tensor, a as tf.Tensor, b as tf.Tensor, more),
    },
  ] satisfies OpCase[];
});

/** x [M, cols] · weightᵀ in float64. */
function product(x: Float32Array, weight: Float32Array, cols: number): number[] {
  const rows = weight.length / cols;
  return Array.from({ length: (x.length / cols) * rows }, (_, i) => {
    const [m, n] = [Math.floor(i / rows), i % rows];
    let sum = 0;
    for (let k = 0; k < cols; k++) sum += (x[m * cols + k] ?? 0) * (weight[n * cols + k] ?? 0);
    return sum;
  });
}

const normCases: OpCase[] = [1, 7, 64, 67].flatMap((D) => [
  {
    name: `rmsNorm, ${D} wide`,
    shapes: [[2, 3, D], [D]],
    run: (x, weight) => ops.rmsNorm(x as tf.Tensor, weight as tf.Tensor1D, 1e-2),
    expected: (x, weight) =>
      eachRow(x as Float32Array, D, (row) => {
        const scale = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / D + 1e-2);
        return row.map((v, i) => v * scale * (weight?.[i] ?? 0));
      }),
  },
  {
    name: `layerNorm, ${D} wide`,
    shapes: [[5, D], [D], [D]],
    run: (x, weight, bias) =>
      ops.layerNorm(x as tf.Tensor, {
        weight: weight as tf.Tensor1D,
        bias: bias as tf.Tensor1D,
        eps: 1e-2,
      }),
    expected: (x, weight, bias) =>
      eachRow(x as Float32Array, D, (row) => {
        const mean = row.reduce((sum, v) => sum + v, 0) / D;
        const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / D;
        const scale = 1 / Math.sqrt(variance + 1e-2);
        return row.map((v, i) => (v - mean) * scale * (weight?.[i] ?? 0) + (bias?.[i] ?? 0));
      }),
  },
  {
    name: `layerNorm without bias, ${D} wide`,
    shapes: [[5, D], [D]],
    run: (x, weight) => ops.layerNorm(x as tf.Tensor, { weight: weight as tf.Tensor1D, eps: 1e-2 }),
  },
]);

function eachRow(x: Float32Array, cols: number, fn: (row: number[]) => number[]): number[] {
  return Array.from({ length: x.length / cols }, (_, r) =>
    fn([...x.subarray(r * cols, (r + 1) * cols)]),
  ).flat();
}

/** relu has no derivative at 0. */
const awayFromZero = (value: number) => value + 0.1 * Math.sign(value);

const activationCases: OpCase[] = ops.ACTIVATION_NAMES.flatMap((name) => [
  {
    name: `activation ${name}`,
    shapes: [[3, 37]],
    prepare: awayFromZero,
    run: (x) => ops.activation(x as tf.Tensor, name),
  },
  {
    name: `gatedMlp ${name}`,
    shapes: [
      [3, 37],
      [3, 37],
    ],
    prepare: awayFromZero,
    run: (gate, up) => ops.gatedMlp(gate as tf.Tensor, up as tf.Tensor, name),
  },
]);

const ropeCases: OpCase[] = [
  [16, 8],
  [20, 5],
  [6, 3],
].map(([E = 0, half = 0]) => {
  const angles = Float32Array.from({ length: 2 * 3 * half }, (_, i) => 0.3 * i);
  return {
    name: `rope, ${2 * half} of ${E}`,
    shapes: [[2, 3, 5, E]],
    run: (x) => {
      const shape: [number, number, number] = [2, 3, half];
      const cos = tf.tensor3d(angles.map(Math.cos), shape);
      const sin = tf.tensor3d(angles.map(Math.sin), shape);
      return disposing([cos, sin], () => ops.rope(x as tf.Tensor4D, cos, sin));
    },
    expected: (x) =>
      Array.from(x as Float32Array, (value, i) => {
        const [head, e] = [Math.floor(i / E), i % E];
        if (e >= 2 * half) return value;
        const angle = angles[Math.floor(head / 5) * half + (e % half)] ?? 0;
        const partner = x?.[head * E + (e < half ? e + half : e - half)] ?? 0;
        return value * Math.cos(angle) + (e < half ? -1 : 1) * partner * Math.sin(angle);
      }),
  };
});

const embeddingCases: OpCase[] = [
  {
    name: 'embedding, trainable, of repeated ids',
    shapes: [[11, 7]],
    run: (weight) => {
      const ids = ops.int32<tf.Rank.R2>([3, 0, 10, 3, 3, 1], [2, 3]);
      return disposing([ids], () => ops.embedding(ids, weight as tf.Tensor2D));
    },
    expected: (weight) =>
      [3, 0, 10, 3, 3, 1].flatMap((id) => [
        ...(weight as Float32Array).subarray(id * 7, id * 7 + 7),
      ]),
  },
];

const TARGETS = [4, -1, 0, 18, 4];

const crossEntropyCases: OpCase[] = [
  ...Object.keys(WEIGHT_KINDS).map((kind): OpCase => {
    const weight = randomWeight(kind, ROWS, COLS);
    return {
      name: `crossEntropy, ${kind}`,
      shapes: [[5, COLS]],
      run: (h) => {
        const targets = ops.int32<tf.Rank.R1>(TARGETS, [5]);
        return disposing([targets], () => ops.crossEntropy(h as tf.Tensor2D, weight, targets));
      },
      expected: (h) => losses(product(h as Float32Array, dequantize(weight.data), COLS)),
    };
  }),
  {
    name: 'crossEntropy, trainable, with bias',
    shapes: [[5, 33], [ROWS, 33], [ROWS]],
    run: (h, weight, bias) => {
      const targets = ops.int32<tf.Rank.R1>(TARGETS, [5]);
      return disposing([targets], () =>
        ops.crossEntropy(h as tf.Tensor2D, weight as tf.Tensor2D, targets, bias as tf.Tensor1D),
      );
    },
    expected: (h, weight, bias) =>
      losses(
        product(h as Float32Array, weight as Float32Array, 33).map(
          (y, i) => y + (bias?.[i % ROWS] ?? 0),
        ),
      ),
  },
];

function losses(logits: readonly number[]): number[] {
  return TARGETS.map((target, m) => {
    if (target < 0) return 0;
    const row = logits.slice(m * ROWS, (m + 1) * ROWS);
    const most = Math.max(...row);
    const sum = row.reduce((total, logit) => total + Math.exp(logit - most), 0);
    return most + Math.log(sum) - (row[target] ?? 0);
  });
}

const dropoutCases: OpCase[] = [
  {
    name: 'dropout',
    shapes: [[2, 3, 17]],
    run: (x) => {
      const keys = ops.int32<tf.Rank.R2>([0, 0, 0, 1, 0, 2, 7, 0, 7, 1, 7, 2], [6, 2]);
      return disposing([keys], () =>
        ops.dropout(x as tf.Tensor, { rate: 0.3, seed: 5, stream: 2, keys }),
      );
    },
  },
];

const residualCases: OpCase[] = [
  {
    name: 'addResidual',
    shapes: [
      [3, 37],
      [3, 37],
    ],
    run: (x, branch) => ops.addResidual(x as tf.Tensor, branch as tf.Tensor),
    expected: (x, branch) => Array.from(x as Float32Array, (v, i) => v + (branch?.[i] ?? 0)),
  },
];

const checkpointedCases: OpCase[] = [
  {
    name: 'checkpointed, a block of several ops',
    shapes: [[4, 16], [8, 16], [8]],
    run: (x, weight, scale) =>
      ops.checkpointed(
        (x, weight, scale) => {
          const h = ops.linear(x as tf.Tensor, weight as tf.Tensor2D);
          return ops.gatedMlp(h, ops.rmsNorm(h, scale as tf.Tensor1D, 1e-3), 'silu');
        },
        [x as tf.Tensor, weight as tf.Tensor, scale as tf.Tensor],
      ),
  },
  {
    name: 'checkpointed within checkpointed',
    shapes: [[4, 8]],
    run: (x) => {
      const half = (x: tf.Tensor) => ops.activation(tf.mul(x, 0.5), 'silu');
      const inner = (x: tf.Tensor) => tf.add(x, ops.checkpointed(half, [x]));
      return ops.checkpointed(inner, [x as tf.Tensor]);
    },
  },
];

/** Every op with a gradient, at sizes that no vector width divides. */
export const OP_CASES: readonly OpCase[] = [
  ...linearCases,
  ...denseLinearCases,
  ...loraLinearCases,
  ...normCases,
  ...activationCases,
  ...ropeCases,
  ...attentionCases,
  ...embeddingCases,
  ...crossEntropyCases,
  ...dropoutCases,
  ...residualCases,
  ...checkpointedCases,
];
