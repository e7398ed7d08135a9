import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { uniformAt } from '../../../src/generate/random.js';
import { chooseToken, distribution } from '../../../src/tensor/sampling.js';

const GREEDY = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 };

/** Written by fixtures/generate/sampling.py with transformers. */
const cases = JSON.parse(readFileSync('fixtures/sampling.json', 'utf8')) as {
  settings: { temperature: number; top_k: number; top_p: number; repetition_penalty: number };
  seen: number[];
  logits: number[];
  probabilities: number[];
}[];

test.each(cases)(
  'the distribution is transformers’: $settings',
  ({ settings, seen, logits, probabilities }) => {
    const sampling = {
      temperature: settings.temperature,
      topK: settings.top_k,
      topP: settings.top_p,
      repetitionPenalty: settings.repetition_penalty,
    };
    const got = distribution(Float32Array.from(logits), new Set(seen), sampling);
    for (const [i, wanted] of probabilities.entries()) expect(got[i]).toBeCloseTo(wanted, 12);
  },
);

test('temperature 0 takes the most probable token, the first of equals', () => {
  expect(chooseToken(Float32Array.of(1, 3, 3, 2), new Set(), GREEDY, 0.99)).toBe(1);
});

test('the repetition penalty also moves the greedy choice', () => {
  const sampling = { ...GREEDY, repetitionPenalty: 1e6 };
  expect(chooseToken(Float32Array.of(1, 3, 2), new Set([1, 2]), sampling, 0)).toBe(0);
  expect(chooseToken(Float32Array.of(-1, -3, -2), new Set([0]), sampling, 0)).toBe(2);
});

test('tokens are drawn as often as their probability says', () => {
  const logits = Float32Array.of(Math.log(0.5), Math.log(0.3), Math.log(0.2));
  const counts = [0, 0, 0];
  for (let i = 0; i < 20_000; i++) {
    const id = chooseToken(logits, new Set(), { ...GREEDY, temperature: 1 }, uniformAt(7, 0, i));
    counts[id] = (counts[id] ?? 0) + 1;
  }
  expect((counts[0] ?? 0) / 20_000).toBeCloseTo(0.5, 1);
  expect((counts[1] ?? 0) / 20_000).toBeCloseTo(0.3, 1);
  expect((counts[2] ?? 0) / 20_000).toBeCloseTo(0.2, 1);
});

test('logits that are no numbers are an error', () => {
  expect(() => chooseToken(Float32Array.of(Number.NaN, Number.NaN), new Set(), GREEDY, 0)).toThrow(
    /finite/,
  );
  expect(() => chooseToken(Float32Array.of(1, Infinity), new Set(), GREEDY, 0)).toThrow(/finite/);
});
