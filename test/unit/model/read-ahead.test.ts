import { expect, test } from 'vitest';
import { readAhead } from '../../../src/model/read-ahead.js';

/** Items of their own size; what has begun and not ended is `underWay`, what was handed on `done`. */
function reader(most: number, fails?: number) {
  const seen = { underWay: 0, highest: 0, done: [] as number[], discarded: [] as number[] };
  const options = {
    most,
    size: (item: number) => item,
    async read(item: number) {
      seen.underWay += item;
      seen.highest = Math.max(seen.highest, seen.underWay);
      await new Promise((resolve) => setTimeout(resolve, 20 / item)); // later ones are faster
      seen.underWay -= item;
      if (item === fails) throw new Error('stop');
      return item;
    },
    done: (_: number, value: number) => seen.done.push(value),
    discard: (value: number) => seen.discarded.push(value),
  };
  return { seen, options };
}

test('items are done in their order, and no more of them under way than allowed', async () => {
  const { seen, options } = reader(6);
  await readAhead([1, 2, 3, 4, 5], options);
  expect(seen.done).toEqual([1, 2, 3, 4, 5]);
  expect(seen.highest).toBe(10); // 1, 2 and 3, and 4 on top
});

test('one at a time where nothing is allowed', async () => {
  const { seen, options } = reader(0);
  await readAhead([1, 2, 3], options);
  expect([seen.done, seen.highest]).toEqual([[1, 2, 3], 3]);
});

test('after a failure what is under way is waited for and discarded', async () => {
  const { seen, options } = reader(100, 2);
  await expect(readAhead([1, 2, 3, 4], options)).rejects.toThrow('stop');
  expect([seen.done, seen.discarded, seen.underWay]).toEqual([[1], [3, 4], 0]);
});
