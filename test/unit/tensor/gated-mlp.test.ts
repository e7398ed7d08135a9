import { beforeAll, describe, expect, test } from 'vitest';
import { gatedMlp } from '../../../src/tensor/ops/index.js';
import { toBf16 } from '../../../src/tensor/rounded-operands.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';

const SHAPE = [3, 37];
const SIZE = 111;

/** The value at x, and the gradients of the sum of value · cotangent. */
function evaluate(gate: Float32Array, up: Float32Array, keepBf16: boolean) {
  return tf.tidy(() => {
    const inputs = [tf.tensor(gate, SHAPE), tf.tensor(up, SHAPE)];
    const run = (gate: tf.Tensor, up: tf.Tensor) => gatedMlp(gate, up, 'silu', { keepBf16 });
    const value = run(inputs[0] as tf.Tensor, inputs[1] as tf.Tensor).dataSync();
    const made = tf.grads(run as (...x: tf.Tensor[]) => tf.Tensor)(
      inputs,
      tf.tensor(randomNormal(SIZE, 3), SHAPE),
    );
    return { value, gradients: made.map((gradient) => gradient.dataSync()) };
  });
}

describe.runIf(testedBackends.includes('native'))('gatedMlp that keeps bf16', () => {
  beforeAll(() => useTestBackend('native'));

  test('has the value at its inputs and the gradient at the rounded ones', () => {
    const [gate, up] = [randomNormal(SIZE, 1), randomNormal(SIZE, 2)];
    const { numTensors } = tf.memory();
    const kept = evaluate(gate, up, true);
    expect(kept.value).toEqual(evaluate(gate, up, false).value);
    expect(kept.gradients).toEqual(evaluate(toBf16(gate), toBf16(up), false).gradients);
    expect(tf.memory().numTensors).toBe(numTensors);
  });
});
