import * as ops from '../../../src/tensor/ops/index.js';
import type * as tf from '../../../src/tensor/tfjs.js';
import { disposing, type OpCase } from './op-check.js';

/** [B, T, S, H, K, E] */
type Sizes = readonly [B: number, T: number, S: number, H: number, K: number, E: number];

interface Settings {
  readonly name: string;
  readonly sizes: Sizes;
  /** Keys that query t of row b sees. */
  readonly range: (b: number, t: number) => readonly [first: number, last: number];
  readonly softcap?: number;
  readonly alibiSlopes?: readonly number[];
}

const causal = (_: number, t: number) => [0, t] as const;

const SETTINGS: readonly Settings[] = [
  { name: 'causal', sizes: [2, 5, 5, 3, 3, 8], range: causal },
  { name: 'grouped heads', sizes: [1, 7, 7, 6, 2, 20], range: causal },
  { name: 'one key head', sizes: [2, 4, 4, 5, 1, 5], range: causal },
  {
    name: 'sliding window',
    sizes: [1, 9, 9, 2, 1, 16],
    range: (_, t) => [Math.max(0, t - 3), t],
  },
  {
    name: 'packed segments',
    sizes: [1, 8, 8, 2, 2, 7],
    range: (_, t) => [t < 3 ? 0 : 3, t],
  },
  {
    name: 'padding: queries that see nothing',
    sizes: [2, 6, 6, 2, 1, 8],
    range: (b, t) => (b === 1 && t > 2 ? [0, -1] : [0, t]),
  },
  {
    name: 'a cache longer than what is in it',
    sizes: [2, 3, 40, 4, 2, 8],
    range: (b, t) => [0, 10 * b + t],
  },
  { name: 'one token over a long cache', sizes: [1, 1, 67, 2, 2, 32], range: () => [2, 65] },
  { name: 'soft cap', sizes: [1, 5, 5, 2, 1, 8], range: causal, softcap: 1.5 },
  { name: 'ALiBi', sizes: [1, 5, 5, 2, 2, 8], range: causal, alibiSlopes: [0.5, 0.125] },
];

/** Attention as the model uses it. */
export const attentionCases: readonly OpCase[] = SETTINGS.map((settings) => {
  const [B, T, S, H, K, E] = settings.sizes;
  return {
    name: `attention, ${settings.name}`,
    shapes: [
      [B, T, H, E],
      [B, S, K, E],
      [B, S, K, E],
    ],
    run: (...inputs) => run(settings, inputs as tf.Tensor4D[]),
    expected: (...inputs) => expected(settings, inputs),
  };
});

function ranges({ sizes: [B, T], range }: Settings): [first: number[], last: number[]] {
  const all = Array.from({ length: B * T }, (_, i) => range(Math.floor(i / T), i % T));
  return [all.map(([first]) => first), all.map(([, last]) => last)];
}

function run(settings: Settings, [q, k, v]: readonly tf.Tensor4D[]): tf.Tensor {
  const [B, T] = settings.sizes;
  const [firsts, lasts] = ranges(settings);
  const first = ops.int32<tf.Rank.R2>(firsts, [B, T]);
  const last = ops.int32<tf.Rank.R2>(lasts, [B, T]);
  const { softcap, alibiSlopes } = settings;
  return disposing([first, last], () =>
    ops.attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, {
      first,
      last,
      scale: 0.4,
      ...(softcap !== undefined && { softcap }),
      ...(alibiSlopes !== undefined && { alibiSlopes }),
    }),
  );
}

function expected(settings: Settings, [q, k, v]: readonly Float32Array[]): number[] {
  const [B, T, S, H, K, E] = settings.sizes;
  const y = new Float64Array(B * T * H * E);
  for (let query = 0; query < B * T * H; query++) {
    const [b, t, h] = [Math.floor(query / (T * H)), Math.floor(query / H) % T, query % H];
    const [first, last] = settings.range(b, t);
    const rowOf = (key: number) => ((b * S + key) * K + Math.floor((h * K) / H)) * E;
    const weights: number[] = [];
    for (let key = first; key <= last; key++) {
      let score = 0;
      for (let e = 0; e < E; e++) score += (q?.[query * E + e] ?? 0) * (k?.[rowOf(key) + e] ?? 0);
      score *= 0.4;
      if (settings.softcap) score = settings.softcap * Math.tanh(score / settings.softcap);
      weights.push(Math.exp(score + (settings.alibiSlopes?.[h] ?? 0) * (key - last)));
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    weights.forEach((weight, i) => {
      for (let e = 0; e < E; e++) {
        y[query * E + e] =
          (y[query * E + e] ?? 0) + (weight / total) * (v?.[rowOf(first + i) + e] ?? 0);
      }
    });
  }
  return [...y];
}
