import { describe, expect, test } from 'vitest';
import { useBackend } from '../../../src/tensor/backends/index.js';
import { LayerCache } from '../../../src/tensor/layer-cache.js';
import * as ops from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';

const [H, K, E] = [2, 1, 8];

/** Bytes that the process has taken at most so far, native memory included. */
function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** q, k, v and the causal ranges of T tokens. */
function causal(T: number) {
  const part = (heads: number, seed: number) =>
    tf.tensor4d(randomNormal(T * heads * E, seed), [1, T, heads, E]);
  const places = Int32Array.from({ length: T }, (_, t) => t);
  const ranges = {
    first: ops.int32<tf.Rank.R2>(new Int32Array(T), [1, T]),
    last: ops.int32<tf.Rank.R2>(places, [1, T]),
  };
  return { q: part(H, 1), k: part(K, 2), v: part(K, 3), options: { ...ranges, scale: 0.3 } };
}

/** Bytes by which the peak grows: of tensors, and of the process. */
async function growth(run: () => void): Promise<{ tensors: number; process: number }> {
  const before = { tensors: tf.memory().numBytes, process: peakBytes() };
  const { peakBytes: tensors } = await tf.profile(() => tf.tidy(run));
  return { tensors: tensors - before.tensors, process: peakBytes() - before.process };
}

describe.runIf(testedBackends.includes('native'))('attention of T tokens on native', () => {
  /** Scores of one head alone would take 256 MB, and in bf16 128 MB. */
  const T = 8192;
  const limit = (4 * T * T) / 8;

  const runs: Record<string, () => void> = {
    forward: () => {
      const { q, k, v, options } = causal(T);
      ops.attention(q, k, v, options);
    },
    'forward and backward': () => {
      const { q, k, v, options } = causal(T);
      const loss = (x: tf.Tensor) => tf.sum(ops.attention(x as tf.Tensor4D, k, v, options));
      tf.grad(loss)(q);
    },
    'with a cache': () => {
      const { q, k, v, options } = causal(T);
      const cache = new LayerCache({ batch: 1, numKvHeads: K, headSize: E, dtype: 'int8' });
      ops.cachedAttention(cache, { q, k, v }, { ...options, positions: Int32Array.of(0) });
      cache.dispose();
    },
  };

  test.each(Object.keys(runs))('%s holds nothing of [T, T]', async (name) => {
    await useBackend('native', { device: 'cpu' });
    const grown = await growth(runs[name] as () => void);
    expect(grown.tensors).toBeLessThan(limit);
    expect(grown.process).toBeLessThan(limit);
  });
});
