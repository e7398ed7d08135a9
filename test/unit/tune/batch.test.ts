import { expect, test } from 'vitest';
import type { Example } from '../../../src/data/example.js';
import { toBatch } from '../../../src/tune/batch.js';

function example(index: number, ids: number[], trained: number[]): Example {
  return { ids: Int32Array.from(ids), trained: Uint8Array.from(trained), index, where: 'x' };
}

test('pads on the right, predicts trained tokens alone, and never across packed examples', () => {
  const [a, b, c] = [
    example(4, [10, 11, 12], [0, 0, 1]),
    example(7, [20, 21], [1, 1]),
    example(9, [30, 31, 32], [1, 0, 1]),
  ] as const;
  const batch = toBatch([[a, b], [c]]);
  expect(batch.rows).toEqual([
    { ids: Int32Array.from([10, 11, 12, 20, 21]), segmentLengths: [3, 2] },
    { ids: Int32Array.from([30, 31, 32]) },
  ]);
  expect([...batch.targets]).toEqual([-1, 12, -1, 21, -1, -1, 32, -1, -1, -1]);
  expect(batch).toMatchObject({ length: 5, trainedTokens: 3 });
  expect([...batch.keys.slice(0, 10)]).toEqual([4, 0, 4, 1, 4, 2, 7, 0, 7, 1]);
  expect([...batch.keys.slice(10, 16)]).toEqual([9, 0, 9, 1, 9, 2]);
});
