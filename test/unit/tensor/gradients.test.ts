import { beforeAll, describe, expect, test } from 'vitest';
import { valueAndGradients } from '../../../src/tensor/gradients.js';
import { linear } from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';

const LAYERS = 12;
const SIDE = 32;

function makeMatrices(): tf.Variable<tf.Rank.R2>[] {
  return Array.from({ length: LAYERS }, (_, i) =>
    tf.tidy(() => tf.variable(tf.tensor2d(randomNormal(SIDE * SIDE, i), [SIDE, SIDE]))),
  ) as tf.Variable<tf.Rank.R2>[];
}

/** A residual stream: every layer adds to it, so that gradients meet. */
function loss(x: tf.Tensor, matrices: readonly tf.Tensor2D[]): tf.Scalar {
  let h = x;
  for (const matrix of matrices) h = tf.add(h, tf.tanh(linear(h, matrix)));
  return tf.sum(tf.square(h));
}

describe.each(testedBackends)('valueAndGradients on %s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  test('gives what tfjs gives and leaves nothing behind', () => {
    const x = tf.tensor2d(randomNormal(8 * SIDE, 99), [8, SIDE]);
    const matrices = makeMatrices();
    const { numTensors, numBytes } = tf.memory();
    const wanted = tf.variableGrads(() => loss(x, matrices), matrices);
    const made = valueAndGradients(() => loss(x, matrices), matrices);
    expect(made.value.dataSync()).toEqual(wanted.value.dataSync());
    matrices.forEach((matrix, i) => {
      expect(made.gradients[i]?.dataSync()).toEqual(wanted.grads[matrix.name]?.dataSync());
    });
    tf.dispose([made.value, ...(made.gradients as tf.Tensor[]), wanted.value, wanted.grads]);
    expect(tf.memory()).toMatchObject({ numTensors, numBytes });
    tf.dispose([x, ...matrices]);
  });

  test('holds one layer’s gradients at a time and lets go of the activations', async () => {
    const x = tf.tensor2d(randomNormal(512 * SIDE, 99), [512, SIDE]);
    const matrices = makeMatrices();
    const activation = x.size * 4;
    let held = 0;
    const watched = tf.customGrad((y, save) => {
      (save as tf.GradSaveFunc)([]);
      return {
        value: tf.clone(y as tf.Tensor),
        gradFunc: (dy) => {
          held = tf.memory().numBytes; // at the end of the backward pass
          return tf.clone(dy as tf.Tensor);
        },
      };
    });
    const { numBytes } = tf.memory();
    const made = valueAndGradients(() => loss(watched(x), matrices), [x, ...matrices]);
    const weights = LAYERS * SIDE * SIDE * 4;
    expect(held - numBytes).toBeLessThan(weights + 8 * activation);
    tf.dispose([made.value, ...(made.gradients as tf.Tensor[])]);
    tf.dispose([x, ...matrices]);
  });

  test('an input without influence has no gradient, a failing gradient leaves nothing', () => {
    const [x, unused] = [tf.tensor1d([1, 2]), tf.tensor1d([3])];
    const { numTensors } = tf.memory();
    const { value, gradients } = valueAndGradients(() => tf.sum(tf.square(x)), [x, unused]);
    expect(gradients.map((gradient) => gradient?.dataSync())).toEqual([
      new Float32Array([2, 4]),
      undefined,
    ]);
    tf.dispose([value, ...(gradients as tf.Tensor[])]);
    expect(() => valueAndGradients(() => tf.sum(tf.round(failing(x))), [x])).toThrow('no gradient');
    expect(tf.memory().numTensors).toBe(numTensors);
    tf.dispose([x, unused]);
  });
});

function failing(x: tf.Tensor): tf.Tensor {
  const op = tf.customGrad((y, save) => {
    (save as tf.GradSaveFunc)([y as tf.Tensor]);
    return {
      value: tf.square(y as tf.Tensor),
      gradFunc: () => {
        throw new Error('no gradient');
      },
    };
  });
  return op(x);
}
