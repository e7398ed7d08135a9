import { beforeAll, describe, expect, test } from 'vitest';
import { LlmkitError } from '../../../src/errors.js';
import { crossEntropy, int32, tokenScores } from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { expectClose } from '../../helpers/expect-close.js';
import { randomNormal } from '../../helpers/random.js';

const [M, V, D] = [7, 1100, 24];
const ids = (values: readonly number[]) => int32<tf.Rank.R1>(values, [values.length]);

describe.each(testedBackends)('tokenScores on %s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  test.each([false, true])('losses are those of crossEntropy; rounded: %s', (rounded) => {
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const h = tf.tensor2d(randomNormal(M * D, 1), [M, D]);
      const weight = tf.tensor2d(randomNormal(V * D, 2), [V, D]);
      const bias = tf.tensor1d(randomNormal(V, 3));
      const targets = ids([0, 1099, 512, 511, 40, 41, 42]);
      const { losses } = tokenScores({ h, weight, bias, targets, rounded });
      const expected = crossEntropy(h, weight, targets, bias, rounded);
      expectClose([...losses.dataSync()], [...expected.dataSync()]);
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  test('greedy is the first of the most probable', () => {
    tf.tidy(() => {
      const values = new Float32Array(V);
      for (const word of [40, 43, 700]) values[word] = 2;
      const [h, weight] = [tf.ones<tf.Rank.R2>([4, 1]), tf.tensor2d(values, [V, 1])];
      const targets = ids([40, 43, 700, 0]);
      const { greedy } = tokenScores({ h, weight, bias: undefined, targets, rounded: false });
      expect([...greedy.dataSync()]).toEqual([1, 0, 0, 0]);
    });
  });

  test('targets are words', () => {
    tf.tidy(() => {
      const [h, weight] = [tf.ones<tf.Rank.R2>([1, 4]), tf.ones<tf.Rank.R2>([3, 4])];
      for (const target of [-1, 3]) {
        const head = { h, weight, bias: undefined, targets: ids([target]), rounded: false };
        expect(() => tokenScores(head)).toThrow(LlmkitError);
        expect(() => tokenScores(head)).toThrow(`targets must be in 0..2, got ${target}`);
      }
    });
  });
});
