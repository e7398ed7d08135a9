import { beforeAll, describe, expect, test } from 'vitest';
import { checkpointed, linear } from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';

/** Five layers of ten products each, with a trainable matrix that fn reaches by name. */
function loss(x: tf.Tensor, matrix: tf.Variable<tf.Rank.R2>, withCheckpoints: boolean): tf.Scalar {
  const layer = (h: tf.Tensor) => {
    let y = linear(h, matrix);
    for (let i = 0; i < 10; i++) y = tf.mul(y, 1.01);
    return tf.tanh(y);
  };
  let h = x;
  for (let i = 0; i < 5; i++) h = withCheckpoints ? checkpointed(layer, [h, matrix]) : layer(h);
  return tf.sum(h);
}

describe.each(testedBackends)('checkpointed on %s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  test('gives the same gradients with fewer tensors alive', async () => {
    const x = tf.tensor2d(randomNormal(64 * 8, 1), [64, 8]);
    const matrix = tf.tidy(() =>
      tf.variable(tf.tensor2d(randomNormal(64, 2), [8, 8])),
    ) as tf.Variable<tf.Rank.R2>;
    const before = tf.memory();
    const run = (withCheckpoints: boolean) =>
      tf.profile(() => {
        const { value, grads } = tf.variableGrads(() => loss(x, matrix, withCheckpoints), [matrix]);
        const values = (grads[matrix.name] as tf.Tensor).dataSync();
        tf.dispose([value, grads]);
        return { values } as never;
      });
    const plain = { ...(await run(false)) };
    const checked = { ...(await run(true)) };
    expect((checked.result as never as { values: Float32Array }).values).toEqual(
      (plain.result as never as { values: Float32Array }).values,
    );
    expect(checked.peakBytes - before.numBytes).toBeLessThan(
      (plain.peakBytes - before.numBytes) / 2,
    );
    const { numTensors, numBytes, numDataBuffers } = tf.memory();
    expect({ numTensors, numBytes, numDataBuffers }).toEqual({
      numTensors: before.numTensors,
      numBytes: before.numBytes,
      numDataBuffers: before.numDataBuffers,
    });
    tf.dispose([x, matrix]);
  });

  test('an input that the result does not depend on gets zeros', () => {
    const [x, unused] = [tf.tensor1d([1, 2]), tf.tensor1d([3])];
    const gradients = tf.grads((x, unused) =>
      checkpointed((x) => tf.square(x as tf.Tensor), [x, unused]),
    )([x, unused]);
    expect(gradients.map((gradient) => [...gradient.dataSync()])).toEqual([[2, 4], [0]]);
    tf.dispose([x, unused, gradients]);
  });

  test('without a gradient it only runs', () => {
    const x = tf.tensor1d([1, 2]);
    const { numTensors } = tf.memory();
    const y = checkpointed((x) => tf.square(tf.square(x as tf.Tensor)), [x]);
    expect([...y.dataSync()]).toEqual([1, 16]);
    expect(tf.memory().numTensors).toBe(numTensors + 1);
    tf.dispose([x, y]);
  });
});
