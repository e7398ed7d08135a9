import { expect, test } from 'vitest';
import { placeToken } from '../../../src/generate/logprobs.js';
import { randomNormal } from '../../helpers/random.js';

test('probabilities are the softmax’s logarithms, the best first', () => {
  const logits = randomNormal(50, 3);
  const sum = logits.reduce((total, value) => total + Math.exp(value), 0);
  const wanted = Array.from(logits, (value, id) => ({
    id,
    logprob: Math.log(Math.exp(value) / sum),
  }));
  const placed = placeToken(logits, 11, 50);
  expect(placed.logprob).toBeCloseTo(wanted[11]?.logprob ?? 0, 12);
  const sorted = [...wanted].sort((a, b) => b.logprob - a.logprob);
  expect(placed.best.map(({ id }) => id)).toEqual(sorted.map(({ id }) => id));
  expect(placeToken(logits, 11, 3).best).toEqual(placed.best.slice(0, 3));
});

test('large logits do not overflow; of equals the smaller id comes first', () => {
  const { logprob, best } = placeToken(Float32Array.of(1000, 1000, -1000), 0, 2);
  expect(logprob).toBeCloseTo(-Math.LN2, 12);
  expect(best.map(({ id }) => id)).toEqual([0, 1]);
});

test('none of the best may be asked for', () => {
  expect(placeToken(Float32Array.of(0, 0), 1, 0).best).toEqual([]);
});
