import { describe, expect, test } from 'vitest';
import { dropout, int32 } from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';

const OPTIONS = { rate: 0.25, seed: -7, stream: 3 };

/** Values [rows, cols] dropped with these keys. */
function dropped(values: Float32Array, keys: number[], options = OPTIONS): Float32Array {
  return tf.tidy(() => {
    const rows = keys.length / 2;
    const x = tf.tensor2d(values, [rows, values.length / rows]);
    const y = dropout(x, { ...options, keys: int32<tf.Rank.R2>(keys, [rows, 2]) });
    return y.dataSync() as Float32Array;
  });
}

const keysOf = (rows: number) => Array.from({ length: 2 * rows }, (_, i) => (i % 2) * (i >> 1));

test('every backend draws the same bits', async () => {
  const values = randomNormal(40 * 33, 1);
  const results: Float32Array[] = [];
  for (const backend of testedBackends) {
    await useTestBackend(backend);
    results.push(dropped(values, keysOf(40)));
  }
  for (const result of results) expect(bitsOf(result)).toEqual(bitsOf(results[0] as Float32Array));
});

const bitsOf = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset);

describe.each(testedBackends)('dropout on %s', (backend) => {
  test('drops that share of the elements and scales the others', async () => {
    await useTestBackend(backend);
    const y = dropped(new Float32Array(200 * 100).fill(3), keysOf(200));
    expect(new Set(y)).toEqual(new Set([0, 4]));
    const share = y.filter((value) => value === 0).length / y.length;
    expect(Math.abs(share - 0.25)).toBeLessThan(0.015);
  });

  test('the mask of a row depends on its keys, not on its place', async () => {
    await useTestBackend(backend);
    const ones = (rows: number) => new Float32Array(rows * 64).fill(1);
    const both = dropped(ones(2), [5, 1, 9, 2]);
    expect(dropped(ones(1), [9, 2])).toEqual(both.subarray(64));
    expect(both.subarray(0, 64)).not.toEqual(both.subarray(64));
    expect(dropped(ones(1), [2, 9])).not.toEqual(both.subarray(64));
  });

  test('seed and stream change the mask; rate 0 changes nothing', async () => {
    await useTestBackend(backend);
    const values = new Float32Array(64).fill(1);
    const masks = [OPTIONS, { ...OPTIONS, seed: 8 }, { ...OPTIONS, stream: 4 }].map((options) =>
      dropped(values, [1, 1], options).join(),
    );
    expect(new Set(masks).size).toBe(3);
    expect(dropped(values, [1, 1], { ...OPTIONS, rate: 0 })).toEqual(values);
  });

  test('refuses a rate of 1 and keys of another length', async () => {
    await useTestBackend(backend);
    expect(() => dropped(new Float32Array(4), [1, 1], { ...OPTIONS, rate: 1 })).toThrow(/rate/);
    const [x, keys] = [tf.ones([3, 2]), int32<tf.Rank.R2>([0, 0], [1, 2])];
    expect(() => dropout(x, { ...OPTIONS, keys })).toThrow(/keys must be \[3, 2\], got \[1, 2\]/);
    tf.dispose([x, keys]);
  });
});
