import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { BatchPlan } from '../../../src/data/batches.js';
import type { Example } from '../../../src/data/example.js';
import { packRows, singleRows } from '../../../src/data/packing.js';
import { shuffledIndices } from '../../../src/data/random.js';
import { sharedData } from '../../helpers/shared-data.js';

function examples(lengths: readonly number[]): Example[] {
  return lengths.map((length, index) => ({
    ids: Int32Array.from({ length }, (_, i) => 100 * index + i),
    trained: new Uint8Array(length).fill(1),
    index,
    where: `x:${index}`,
  }));
}

const plan = (
  rows: number,
  options: { seed?: number; batchSize?: number; accumulation?: number },
) =>
  new BatchPlan(singleRows(examples(new Array(rows).fill(1))), {
    batchSize: 2,
    accumulation: 1,
    seed: 0,
    shuffle: true,
    ...options,
  });

const indices = (batches: readonly (readonly (readonly Example[])[])[]) =>
  batches.flat(2).map((example) => example.index);

test('every epoch sees each row once, in another order, the last batch shorter', () => {
  const rows = plan(7, { batchSize: 2, accumulation: 2 });
  expect(rows.stepsPerEpoch).toBe(2);
  const [first, second] = [0, 2].map((step) => [
    ...indices(rows.step(step)),
    ...indices(rows.step(step + 1)),
  ]);
  const all = [0, 1, 2, 3, 4, 5, 6];
  expect([...(first ?? [])].sort()).toEqual(all);
  expect([...(second ?? [])].sort()).toEqual(all);
  expect(first).not.toEqual(second);
  expect(rows.step(1).map((batch) => batch.length)).toEqual([2, 1]);
});

test('a step depends on seed and number alone, and not on how it is cut into micro-batches', () => {
  expect(indices(plan(9, {}).step(5))).toEqual(indices(plan(9, {}).step(5)));
  expect(indices(plan(9, { batchSize: 1, accumulation: 2 }).step(5))).toEqual(
    indices(plan(9, {}).step(5)),
  );
  expect(indices(plan(99, { seed: 1 }).step(0))).not.toEqual(indices(plan(99, {}).step(0)));
});

test('shuffles evenly', () => {
  const counts = new Uint32Array(16);
  for (let stream = 0; stream < 4000; stream++) {
    shuffledIndices(4, 3, stream).forEach((value, place) => {
      counts[4 * value + place] = (counts[4 * value + place] ?? 0) + 1;
    });
  }
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(120);
});

test('keeps the order of the file without shuffling', () => {
  const rows = singleRows(examples([1, 1, 1]));
  const options = { batchSize: 2, accumulation: 1, seed: 0, shuffle: false };
  expect(indices(new BatchPlan(rows, options).step(0))).toEqual([0, 1]);
});

test("packs as TRL's bfd does", () => {
  const path = sharedData('golden', 'tuning.json');
  if (!path) return;
  const { packing } = JSON.parse(readFileSync(path, 'utf8')).sft;
  const rows = packRows(examples(packing.lengths.map((n: number) => Math.min(n, 10))), 10);
  expect(rows.map((row) => row.map((example) => example.ids.length))).toEqual(
    packing.bfd.seq_lengths,
  );
  expect(rows.map((row) => row.flatMap((example) => [...example.ids]))).toEqual(
    packing.bfd.input_ids,
  );
});
