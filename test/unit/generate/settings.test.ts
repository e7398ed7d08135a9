import { expect, test } from 'vitest';
import { resolveSampling } from '../../../src/generate/settings.js';

test('greedy unless something samples', () => {
  expect(resolveSampling({}, {}).temperature).toBe(0);
  expect(resolveSampling({}, { temperature: 0.6, top_p: 0.9 }).temperature).toBe(0);
  expect(resolveSampling({ repetitionPenalty: 2 }, {}).temperature).toBe(0);
});

test('a filter alone samples at temperature 1', () => {
  expect(resolveSampling({ topK: 5 }, {})).toMatchObject({ temperature: 1, topK: 5, topP: 1 });
  expect(resolveSampling({ topP: 0.5 }, {})).toMatchObject({ temperature: 1, topK: 0, topP: 0.5 });
});

test('the model’s configuration samples, and fills in what is not asked for', () => {
  const model = { do_sample: true, temperature: 0.6, top_p: 0.9, repetition_penalty: 1.1 };
  expect(resolveSampling({}, model)).toEqual({
    temperature: 0.6,
    topK: 50,
    topP: 0.9,
    repetitionPenalty: 1.1,
  });
  expect(resolveSampling({ temperature: 1, topK: 3 }, model)).toMatchObject({
    temperature: 1,
    topK: 3,
    topP: 0.9,
  });
});

test('temperature 0 wins over a model that samples', () => {
  expect(resolveSampling({ temperature: 0 }, { do_sample: true }).temperature).toBe(0);
});
