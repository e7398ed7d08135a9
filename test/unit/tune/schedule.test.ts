import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { schedule } from '../../../src/tune/schedule.js';
import { sharedData } from '../../helpers/shared-data.js';

const path = sharedData('golden', 'tuning.json');

test.skipIf(!path).each([
  ['constant', 10, 0, 'constant_with_warmup'],
  ['constant', 0, 0, 'constant'],
  ['linear', 10, 0, 'linear'],
  ['cosine', 10, 0, 'cosine'],
  ['cosine', 10, 0.1, 'cosine_with_min_lr_rate0.1'],
] as const)(
  '%s with %i warm-up steps and minimum %d is transformers’ %s',
  (name, warmup, least, golden) => {
    const { N, values } = JSON.parse(readFileSync(path ?? '', 'utf8')).schedules;
    const rate = schedule({
      name,
      learningRate: 2,
      minLearningRate: 2 * least,
      warmupSteps: warmup,
      totalSteps: N,
    });
    for (let step = 0; step < N; step++)
      expect(rate(step)).toBeCloseTo(2 * values[golden][step], 12);
  },
);

test('a decay ends at the minimum and stays there', () => {
  for (const name of ['linear', 'cosine'] as const) {
    const rate = schedule({
      name,
      learningRate: 1,
      minLearningRate: 0.25,
      warmupSteps: 0,
      totalSteps: 4,
    });
    expect([0, 2, 4, 9].map(rate)).toEqual([1, 0.625, 0.25, 0.25]);
  }
});
