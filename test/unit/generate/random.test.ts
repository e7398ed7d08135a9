import { expect, test } from 'vitest';
import { uniformAt } from '../../../src/generate/random.js';

test('a number depends on its coordinates alone', () => {
  expect(uniformAt(1, 2, 3)).toBe(uniformAt(1, 2, 3));
  const all = new Set<number>();
  for (let seed = 0; seed < 10; seed++) {
    for (let stream = 0; stream < 10; stream++) {
      for (let counter = 0; counter < 100; counter++) all.add(uniformAt(seed, stream, counter));
    }
  }
  expect(all.size).toBe(10_000);
});

test('seeds beyond 32 bits differ from their low half', () => {
  expect(uniformAt(2 ** 40 + 5, 0, 0)).not.toBe(uniformAt(5, 0, 0));
});

test('numbers fill [0, 1) evenly', () => {
  const bins = new Array<number>(16).fill(0);
  for (let i = 0; i < 16_000; i++) {
    const bin = Math.floor(uniformAt(42, i % 4, i >> 2) * 16);
    bins[bin] = (bins[bin] ?? 0) + 1;
  }
  const chiSquare = bins.reduce((total, count) => total + (count - 1000) ** 2 / 1000, 0);
  expect(chiSquare).toBeLessThan(37.7); // 15 degrees of freedom, p = 0.001
});
