import { beforeAll, describe, expect, test } from 'vitest';
import { useBackend } from '../../../src/tensor/backends/index.js';
import type { Compute } from '../../../src/tensor/compute.js';
import * as ops from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';

const [B, T, H, K, E] = [2, 90, 4, 2, 20];

/** y and the gradients of q, k and v, packed sequences of 50 tokens. */
function results(options: { compute?: Compute; training?: boolean }): Float32Array[] {
  return tf.tidy(() => {
    const part = (heads: number, seed: number) =>
      tf.tensor4d(randomNormal(B * T * heads * E, seed), [B, T, heads, E]);
    const [q, k, v, dy] = [part(H, 1), part(K, 2), part(K, 3), part(H, 4)] as const;
    const places = Int32Array.from({ length: B * T }, (_, i) => i % T);
    const first = ops.int32<tf.Rank.R2>(
      places.map((t) => t - (t % 50)),
      [B, T],
    );
    const last = ops.int32<tf.Rank.R2>(places, [B, T]);
    const run = (...[q, k, v]: tf.Tensor[]) =>
      ops.attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, {
        first,
        last,
        scale: 0.22,
        ...options,
      });
    const gradients = tf.grads(run)([q, k, v], dy);
    return [run(q, k, v), ...gradients].map((x) => (x.dataSync() as Float32Array).slice());
  });
}

function relativeDistance(actual: Float32Array, expected: Float32Array): number {
  const norm = (values: Float32Array) => Math.hypot(...values);
  return norm(actual.map((x, i) => x - (expected[i] as number))) / norm(expected);
}

describe.runIf(testedBackends.includes('native'))('attention that computes in bf16', () => {
  beforeAll(() => useBackend('native', { device: 'cpu' }));

  test('in training is as far from float32 as bf16 is', () => {
    const exact = results({ compute: 'f32', training: true });
    const rounded = results({ compute: 'bf16', training: true });
    for (const [i, values] of rounded.entries())
      expect(relativeDistance(values, exact[i] as Float32Array)).toBeLessThan(2 ** -7);
  });

  test('has the bits of float32 where a cache must agree', () => {
    expect(results({ compute: 'bf16' })).toEqual(results({ compute: 'f32' }));
  });
});
