import { expect, test } from 'vitest';
import { floatSum } from '../../../src/quant/float-sum.js';

/** Sums that torch 2.13 gives for these numbers on one CPU thread. */
const TORCH = [
  [7, 3.016676187515259],
  [33, 14.937944412231445],
  [513, 272.1690368652344],
  [5000, 2488.042236328125],
  [300001, 150181.84375],
] as const;

test.each(TORCH)('adds %i numbers in the order of torch', (length, sum) => {
  let x = 1;
  const values = Float32Array.from({ length }, () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return (x >>> 8) / 2 ** 24 + 0.001;
  });
  expect(floatSum(values)).toBe(sum);
});
