import { beforeAll, describe, expect, test } from 'vitest';
import { LlmkitError } from '../../../src/errors.js';
import * as ops from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomWeight } from './weights.js';

const ones = <R extends tf.Rank>(...shape: number[]) => tf.ones(shape as tf.ShapeMap[R]);
const ids = (...values: number[]) => ops.int32<tf.Rank.R2>(values, [1, values.length]);

/** What is wrong, and the message that says so. */
const MISTAKES: Readonly<Record<string, [run: () => unknown, message: string]>> = {
  'linear, frozen': [
    () => ops.linear(ones(2, 31), randomWeight('nf4', 3, 32)),
    'linear: x must be [..., 32], got [2, 31]',
  ],
  'linear, bias': [
    () => ops.linear(ones(2, 4), ones<tf.Rank.R2>(3, 4), ones<tf.Rank.R1>(4)),
    'linear: bias must be [3], got [4]',
  ],
  rmsNorm: [
    () => ops.rmsNorm(ones(2, 3), ones<tf.Rank.R1>(4), 1e-5),
    'rmsNorm: x must be [..., 4], got [2, 3]',
  ],
  layerNorm: [
    () =>
      ops.layerNorm(ones(2, 4), {
        weight: ones<tf.Rank.R1>(4),
        bias: ones<tf.Rank.R1>(3),
        eps: 1e-5,
      }),
    'layerNorm: bias must be [4], got [3]',
  ],
  rope: [
    () =>
      ops.rope(ones<tf.Rank.R4>(1, 2, 3, 4), ones<tf.Rank.R3>(1, 1, 2), ones<tf.Rank.R3>(1, 1, 2)),
    'rope: cos must be [1, 2, …], got [1, 1, 2]',
  ],
  'rope, too wide': [
    () =>
      ops.rope(ones<tf.Rank.R4>(1, 1, 3, 4), ones<tf.Rank.R3>(1, 1, 3), ones<tf.Rank.R3>(1, 1, 3)),
    'rope: cos must be at most 2 wide, got 3',
  ],
  'attention, keys': [
    () => {
      const [q, k] = [ones<tf.Rank.R4>(1, 1, 4, 8), ones<tf.Rank.R4>(1, 1, 2, 6)];
      return ops.attention(q, k, k, { first: ids(0), last: ids(0), scale: 1 });
    },
    'attention: k must be [1, …, …, 8], got [1, 1, 2, 6]',
  ],
  'attention, heads': [
    () => {
      const [q, k] = [ones<tf.Rank.R4>(1, 1, 4, 8), ones<tf.Rank.R4>(1, 1, 3, 8)];
      return ops.attention(q, k, k, { first: ids(0), last: ids(0), scale: 1 });
    },
    'attention: 4 heads must be a multiple of the 3 key/value heads',
  ],
  'attention, ranges': [
    () => {
      const q = ones<tf.Rank.R4>(1, 2, 4, 8);
      return ops.attention(q, q, q, { first: ids(0), last: ids(0), scale: 1 });
    },
    'attention: first must be [1, 2], got [1, 1]',
  ],
  gatedMlp: [
    () => ops.gatedMlp(ones(2, 3), ones(3, 2), 'silu'),
    'gatedMlp: up must be [2, 3], got [3, 2]',
  ],
  'embedding, frozen': [
    () => ops.embedding(ids(1, 3), randomWeight('f32', 3, 32)),
    'embedding: ids must be in 0..2, got 3',
  ],
  'embedding, trainable': [
    () => ops.embedding(ids(1, -1), ones<tf.Rank.R2>(3, 4)),
    'embedding: ids must be in 0..2, got -1',
  ],
  crossEntropy: [
    () =>
      ops.crossEntropy(
        ones<tf.Rank.R2>(2, 4),
        ones<tf.Rank.R2>(3, 4),
        ops.int32<tf.Rank.R1>([1], [1]),
      ),
    'crossEntropy: targets must be [2], got [1]',
  ],
  'crossEntropy, targets': [
    () =>
      ops.crossEntropy(
        ones<tf.Rank.R2>(1, 4),
        ones<tf.Rank.R2>(3, 4),
        ops.int32<tf.Rank.R1>([3], [1]),
      ),
    'crossEntropy: targets must be in -1..2, got 3',
  ],
};

describe.each(testedBackends)('shapes on %s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  test.each(Object.entries(MISTAKES))('%s: says what was expected', (_, [run, message]) => {
    tf.tidy(() => {
      expect(run).toThrow(LlmkitError);
      expect(run).toThrow(message);
    });
  });
});
