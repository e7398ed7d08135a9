import { beforeAll, describe, expect, test } from 'vitest';
import { useBackend } from '../../../src/tensor/backends/index.js';
import { LayerCache } from '../../../src/tensor/layer-cache.js';
import * as ops from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { isInvariant, testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { bitsOf, scoped } from './bits.js';

const THREADS = [1, 2, 3];
/** Sizes of an attention that no vector width divides. */
const [H, K, E] = [6, 2, 20];

interface Sequence {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly length: number;
}

function sequenceOf(length: number, seed: number): Sequence {
  return {
    q: randomNormal(length * H * E, seed),
    k: randomNormal(length * K * E, seed + 1),
    v: randomNormal(length * K * E, seed + 2),
    length,
  };
}

/** Causal attention within a window of 9, of sequences padded on the right to T; bits per sequence. */
function attentionOf(sequences: readonly Sequence[], T: number): Uint32Array[] {
  const B = sequences.length;
  const padded = (part: 'q' | 'k' | 'v', heads: number) => {
    const values = new Float32Array(B * T * heads * E).fill(1e3);
    sequences.forEach((sequence, b) => {
      values.set(sequence[part], b * T * heads * E);
    });
    return tf.tensor4d(values, [B, T, heads, E]);
  };
  const at = (fn: (t: number, length: number) => number) =>
    ops.int32<tf.Rank.R2>(
      sequences.flatMap(({ length }) => Array.from({ length: T }, (_, t) => fn(t, length))),
      [B, T],
    );
  return scoped(() => {
    const [q, k, v] = [padded('q', H), padded('k', K), padded('v', K)];
    const first = at((t) => Math.max(0, t - 9));
    const last = at((t, length) => (t < length ? t : -1));
    const bits = bitsOf(ops.attention(q, k, v, { first, last, scale: 0.3 }));
    return sequences.map(({ length }, b) => bits.slice(b * T * H * E, (b * T + length) * H * E));
  });
}

/** The same sequence in chunks over a cache. */
function cachedAttentionOf(sequence: Sequence, chunks: readonly number[]) {
  const cache = new LayerCache({ batch: 1, numKvHeads: K, headSize: E, dtype: 'f32' });
  const bits = scoped(() => {
    const parts: number[] = [];
    let done = 0;
    for (const T of chunks) {
      const chunk = (part: Float32Array, heads: number) =>
        tf.tensor4d(part.slice(done * heads * E, (done + T) * heads * E), [1, T, heads, E]);
      const [q, k, v] = [chunk(sequence.q, H), chunk(sequence.k, K), chunk(sequence.v, K)];
      const places = Array.from({ length: T }, (_, t) => done + t);
      const first = ops.int32<tf.Rank.R2>(
        places.map((place) => Math.max(0, place - 9)),
        [1, T],
      );
      const last = ops.int32<tf.Rank.R2>(places, [1, T]);
      const options = { first, last, scale: 0.3, positions: Int32Array.of(done) };
      parts.push(...bitsOf(ops.cachedAttention(cache, { q, k, v }, options)));
      done += T;
    }
    return Uint32Array.from(parts);
  });
  cache.dispose();
  return bits;
}

describe.each(testedBackends.filter(isInvariant))('attention on %s, bit for bit', (backend) => {
  const sequences = [sequenceOf(31, 1), sequenceOf(7, 10), sequenceOf(1, 20), sequenceOf(18, 30)];
  const alone = () => sequences.map((sequence) => attentionOf([sequence], sequence.length)[0]);

  beforeAll(async () => {
    await useTestBackend(backend);
  });

  test('does not depend on the batch and the padding', () => {
    expect(attentionOf(sequences, 31)).toEqual(alone());
    expect(attentionOf([...sequences].reverse(), 40).reverse()).toEqual(alone());
  });

  test.runIf(backend === 'native')('does not depend on the threads', async () => {
    const expected = alone();
    for (const threads of THREADS) {
      await useBackend('native', { device: 'cpu', threads });
      expect(attentionOf(sequences, 31)).toEqual(expected);
    }
    await useBackend('native', { device: 'cpu', threads: 2 });
  });

  test('does not depend on the chunks of the prompt, nor on the cache', () => {
    const [sequence] = sequences as [Sequence];
    const [whole] = alone();
    const tokenByToken = new Array<number>(31).fill(1);
    for (const chunks of [[31], [1, 30], [13, 8, 10], tokenByToken]) {
      expect(cachedAttentionOf(sequence, chunks), `chunks ${chunks}`).toEqual(whole);
    }
  });

  test('a packed segment is the sequence alone', () => {
    const lengths = sequences.map(({ length }) => length);
    const T = lengths.reduce((sum, length) => sum + length);
    const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0));
    const segmentOf = (t: number) => starts.findLastIndex((start) => start <= t);
    const joined = (part: 'q' | 'k' | 'v', heads: number) =>
      tf.tensor4d(Float32Array.from(sequences.flatMap((sequence) => [...sequence[part]])), [
        1,
        T,
        heads,
        E,
      ]);
    const bits = scoped(() => {
      const positions = Array.from({ length: T }, (_, t) => t);
      const first = ops.int32<tf.Rank.R2>(
        positions.map((t) => Math.max(starts[segmentOf(t)] as number, t - 9)),
        [1, T],
      );
      const last = ops.int32<tf.Rank.R2>(positions, [1, T]);
      return bitsOf(
        ops.attention(joined('q', H), joined('k', K), joined('v', K), { first, last, scale: 0.3 }),
      );
    });
    const segments = starts.map((start, i) =>
      bits.slice(start * H * E, (start + (lengths[i] as number)) * H * E),
    );
    expect(segments).toEqual(alone());
  });
});
