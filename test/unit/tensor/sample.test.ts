import { beforeAll, describe, expect, test } from 'vitest';
import { uniformAt } from '../../../src/generate/random.js';
import { sample } from '../../../src/tensor/ops/index.js';
import { chooseToken, type Sampling } from '../../../src/tensor/sampling.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';

const PLAIN: Sampling = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 };
const SETTINGS: readonly Partial<Sampling>[] = [
  { temperature: 0 },
  {},
  { temperature: 0.4, repetitionPenalty: 1.2 },
  { topK: 1 },
  { topK: 700, temperature: 1.7 },
  { topP: 0.5 },
  { topP: 0.97, temperature: 3 },
  { topK: 50, topP: 0.9, repetitionPenalty: 1.1 },
];

describe.each(testedBackends)('sample on %s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  // Sums before a top-p cut differ by 1e-13: none of these seeds comes that close to a boundary.
  test.each(SETTINGS)('chooses what chooseToken does: %o', (settings) => {
    const sampling = { ...PLAIN, ...settings };
    for (const vocab of [7, 300, 5003]) {
      const values = randomNormal(3 * vocab, vocab);
      const rows = [0, 1, 2].map((b) => ({
        seen: new Set([b, vocab - 1]),
        uniform: uniformAt(1, b, vocab),
      }));
      const logits = tf.tensor2d(values, [3, vocab]);
      const wanted = rows.map(({ seen, uniform }, b) =>
        chooseToken(values.subarray(b * vocab, (b + 1) * vocab), seen, sampling, uniform),
      );
      expect([...sample(logits, rows, sampling)]).toEqual(wanted);
      logits.dispose();
    }
  });

  test('logits that are no numbers are an error', () => {
    const rows = [{ seen: [], uniform: 0 }];
    const choose = (...values: number[]) =>
      tf.tidy(() => sample(tf.tensor2d(values, [1, values.length]), rows, PLAIN));
    expect(() => choose(Number.NaN, Number.NEGATIVE_INFINITY)).toThrow(/finite/);
    expect(() => choose(1, Number.POSITIVE_INFINITY)).toThrow(/finite/);
    expect([...choose(Number.NaN, 3)]).toEqual([1]);
  });
});
