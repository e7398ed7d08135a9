import { afterAll, describe, expect, test } from 'vitest';
import { useBackend } from '../../../src/tensor/backends/index.js';
import { type KvDtype, kvBytes, roundedKv } from '../../../src/tensor/kv-dtype.js';
import { LayerCache } from '../../../src/tensor/layer-cache.js';
import * as ops from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { bitsOf, scoped } from './bits.js';
import { expectClose } from './op-check.js';

const DTYPES: readonly KvDtype[] = ['f32', 'bf16', 'int8'];
/** Sizes that no vector width divides; T reaches into a second page. */
const [B, T, H, K, E, R] = [2, 140, 4, 2, 20, 8];

/** Values of q, k, v and the angles of every position, row after row. */
const values = {
  q: randomNormal(B * T * H * E, 1),
  k: randomNormal(B * T * K * E, 2),
  v: randomNormal(B * T * K * E, 3),
  cos: randomNormal((B * T * R) / 2, 4),
  sin: randomNormal((B * T * R) / 2, 5),
};
const WIDTHS = { q: [H, E], k: [K, E], v: [K, E], cos: [R / 2], sin: [R / 2] } as const;

interface Settings {
  readonly dtype: KvDtype;
  readonly window?: number;
  readonly softcap?: number;
  readonly alibiSlopes?: readonly number[];
  readonly turns?: boolean;
}

/** Positions [start, end) of all rows. */
function tokens(part: keyof typeof values, start: number, end: number): tf.Tensor {
  const size = WIDTHS[part].reduce((product: number, length) => product * length, 1);
  const rows = Array.from({ length: B }, (_, b) =>
    values[part].subarray((b * T + start) * size, (b * T + end) * size),
  );
  const shape = [B, end - start, ...WIDTHS[part]];
  return tf.tensor(Float32Array.from(rows.flatMap((row) => [...row])), shape);
}

function optionsOf({ window = T, softcap, alibiSlopes }: Settings, start: number, end: number) {
  const places = Array.from({ length: B * (end - start) }, (_, i) => start + (i % (end - start)));
  const at = (of: (place: number) => number) =>
    ops.int32<tf.Rank.R2>(places.map(of), [B, end - start]);
  return {
    first: at((place) => Math.max(0, place - window + 1)),
    last: at((place) => place),
    scale: 0.3,
    ...(softcap !== undefined && { softcap }),
    ...(alibiSlopes !== undefined && { alibiSlopes }),
  };
}

/** All positions, so many at a time. */
function inChunks(settings: Settings, chunks: readonly number[]): tf.Tensor {
  const cache = new LayerCache({ batch: B, numKvHeads: K, headSize: E, dtype: settings.dtype });
  let start = 0;
  const parts = chunks.map((count) => {
    const end = start + count;
    const angles = settings.turns
      ? {
          cos: tokens('cos', start, end) as tf.Tensor3D,
          sin: tokens('sin', start, end) as tf.Tensor3D,
        }
      : undefined;
    const [q, k, v] = (['q', 'k', 'v'] as const).map((part) => tokens(part, start, end)) as [
      tf.Tensor4D,
      tf.Tensor4D,
      tf.Tensor4D,
    ];
    const options = { ...optionsOf(settings, start, end), angles };
    const positions = new Int32Array(B).fill(start);
    start = end;
    return ops.cachedAttention(cache, { q, k, v }, { ...options, positions });
  });
  cache.dispose();
  return tf.concat(parts, 1);
}

/** Attention to all keys at once, rounded before. */
function atOnce(settings: Settings): tf.Tensor {
  const [cos, sin] = [tokens('cos', 0, T), tokens('sin', 0, T)] as [tf.Tensor3D, tf.Tensor3D];
  const turned = (part: 'q' | 'k') => {
    const x = tokens(part, 0, T) as tf.Tensor4D;
    return settings.turns ? ops.rope(x, cos, sin) : x;
  };
  const rounded = (x: tf.Tensor4D) =>
    tf.tensor4d(roundedKv(x.dataSync() as Float32Array, E, settings.dtype), x.shape);
  const v = rounded(tokens('v', 0, T) as tf.Tensor4D);
  return ops.attention(turned('q'), rounded(turned('k')), v, optionsOf(settings, 0, T));
}

const SETTINGS: Readonly<Record<string, Omit<Settings, 'dtype'>>> = {
  rope: { turns: true },
  'no positions': {},
  'a window': { turns: true, window: 40 },
  'a soft cap': { softcap: 1.5 },
  ALiBi: { alibiSlopes: [0.5, 0.25, 0.125, 0.5] },
};
const CHUNKS = [[T], [1, 4, 130, 5], [120, ...new Array<number>(20).fill(1)]];

afterAll(async () => {
  await useTestBackend('native');
});

describe.each(DTYPES)('cachedAttention with keys and values in %s', (dtype) => {
  test.each(testedBackends)('on %s it is attention to rounded keys and values', async (backend) => {
    await useTestBackend(backend);
    for (const [name, part] of Object.entries(SETTINGS).slice(0, backend === 'native' ? 5 : 2)) {
      const settings = { ...part, dtype };
      const want = scoped(() => atOnce(settings).dataSync() as Float32Array);
      const got = scoped(() => inChunks(settings, [60, 80]).dataSync() as Float32Array);
      expectClose(name, got, want);
    }
  });

  test.runIf(testedBackends.includes('native'))(
    'on native it is so bit for bit, however the prompt is cut',
    async () => {
      for (const threads of [1, 3]) {
        await useBackend('native', { device: 'cpu', threads });
        for (const part of Object.values(SETTINGS)) {
          const settings = { ...part, dtype };
          const want = scoped(() => bitsOf(atOnce(settings)));
          for (const chunks of CHUNKS) {
            const got = scoped(() => bitsOf(inChunks(settings, chunks)));
            // Buffers: matchers take seconds for so many numbers.
            expect(Buffer.from(got.buffer).equals(Buffer.from(want.buffer))).toBe(true);
          }
        }
      }
    },
  );
});

describe.each(testedBackends)('a LayerCache on %s', (backend) => {
  test('is counted, and gone when disposed of', async () => {
    await useTestBackend(backend);
    const before = tf.memory();
    for (const dtype of DTYPES) {
      const cache = new LayerCache({ batch: B, numKvHeads: K, headSize: E, dtype });
      const write = () => {
        const [q, k, v] = [tokens('q', 0, T), tokens('k', 0, T), tokens('v', 0, T)] as [
          tf.Tensor4D,
          tf.Tensor4D,
          tf.Tensor4D,
        ];
        const positions = new Int32Array(cache.shape.batch);
        const options = { ...optionsOf({ dtype }, 0, T), positions };
        ops.cachedAttention(cache, { q, k, v }, options);
      };
      tf.tidy(() => write());
      const held = tf.memory().numBytes - before.numBytes;
      const least = 2 * B * T * K * kvBytes(backend !== 'reference' ? dtype : 'f32', E);
      expect(held).toBeGreaterThan(least);
      expect(held).toBeLessThan(3 * least);
      cache.select([1, 0]);
      tf.tidy(() => write());
      expect(tf.memory().numBytes - before.numBytes).toBe(held);
      cache.dispose();
      expect(tf.memory()).toMatchObject({
        numTensors: before.numTensors,
        numBytes: before.numBytes,
        numDataBuffers: before.numDataBuffers,
      });
    }
  });

  test('refuses what does not fit', async () => {
    await useTestBackend(backend);
    const cache = new LayerCache({ batch: 1, numKvHeads: K, headSize: E, dtype: 'f32' });
    tf.tidy(() => {
      const [q, k] = [tf.zeros<tf.Rank.R4>([1, 1, H, E]), tf.zeros<tf.Rank.R4>([1, 1, K, E])];
      const [first, last] = [
        ops.int32<tf.Rank.R2>([0], [1, 1]),
        ops.int32<tf.Rank.R2>([0], [1, 1]),
      ];
      const options = { first, last, scale: 1, positions: Int32Array.of(0) };
      const call = (change: object, tokens = { q, k, v: k }) =>
        ops.cachedAttention(cache, tokens, { ...options, ...change });
      expect(() => call({ positions: Int32Array.of(0, 0) })).toThrow('positions must be [1]');
      expect(() => call({}, { q, k: q, v: k })).toThrow(`k must be [1, 1, ${K}, ${E}]`);
      expect(() => call({ alibiSlopes: [1] })).toThrow('with a slope each');
    });
    cache.dispose();
  });
});
