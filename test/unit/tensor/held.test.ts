import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NativeBackend } from '../../../src/tensor/backends/native-backend.js';
import type { NativeData } from '../../../src/tensor/backends/native-data.js';
import { hold } from '../../../src/tensor/ops/index.js';
import { toBf16 } from '../../../src/tensor/rounded-operands.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { OP_CASES } from './op-cases.js';
import type { OpCase } from './op-check.js';

/** Values and gradients of an op, with the inputs as they are or held. */
function evaluate(op: OpCase, inputs: readonly Float32Array[], held: boolean): Float32Array[] {
  const result = tf.tidy(() => {
    const tensors = inputs.map((values, i) => tf.tensor(values, op.shapes[i]));
    const run = (...xs: tf.Tensor[]) => op.run(...(held ? xs.map((x) => hold(x, 'bf16')) : xs));
    const y = run(...tensors);
    const dy = tf.tensor(randomNormal(y.size, 99), y.shape);
    return [y, ...tf.grads(run)(tensors, dy)];
  });
  const values = result.map((x) => x.dataSync<'float32'>() as Float32Array);
  tf.dispose(result);
  return values;
}

/** 1 + 2^-8 lies between two bf16 values, and the even one is below. */
const VALUES = [1 + 2 ** -8, 1 + 3 * 2 ** -8, -0.1, 1e-40, 0, Infinity, 3];
const ROUNDED = [...toBf16(Float32Array.from(VALUES))];

describe.each(testedBackends)('%s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  test('what is held has the nearest values of bf16, and its own gradient', async () => {
    const x = tf.tensor(VALUES);
    const held = tf.tidy(() => hold(x, 'bf16'));
    expect(held.dtype).toBe('float32');
    expect([...held.dataSync()]).toEqual(ROUNDED);
    expect([...(await held.data())]).toEqual(ROUNDED);
    const dy = tf.tensor(randomNormal(VALUES.length, 1));
    const dx = tf.tidy(() => tf.grad((x) => hold(x, 'bf16'))(x, dy));
    expect([...dx.dataSync()]).toEqual([...dy.dataSync()]);
    expect(hold(x, undefined)).toBe(x);
    tf.dispose([x, held, dy, dx]);
  });

  // Whatever an op makes of what is held, it is what it makes of the same values in float32.
  test.each(OP_CASES)('$name, of held inputs', (op) => {
    const inputs = op.shapes.map((shape, i) =>
      toBf16(randomNormal(tf.util.sizeFromShape([...shape]), i + 1)),
    );
    expect(evaluate(op, inputs, true)).toEqual(evaluate(op, inputs, false));
  });
});

describe.runIf(testedBackends.includes('native'))('what native holds', () => {
  beforeAll(() => useTestBackend('native'));
  const native = () => tf.backend() as NativeBackend;
  const dataOf = (x: tf.Tensor) => x.dataId as NativeData;

  let made: tf.Tensor[] = [];
  afterEach(() => {
    tf.dispose(made);
    made = [];
  });
  /** Random values that are held, and the same in float32. */
  function pair(shape: number[]): [held: tf.Tensor, plain: tf.Tensor] {
    const values = toBf16(randomNormal(tf.util.sizeFromShape(shape), 5));
    const plain = tf.tensor(values, shape);
    const held = tf.tidy(() => hold(plain, 'bf16'));
    made.push(plain, held);
    return [held, plain];
  }

  test('takes half the memory until it is disposed of', () => {
    const inUse = () => native().memory().numBytesInUse;
    const [held, plain] = pair([16, 1024]);
    const before = inUse();
    const more = tf.tidy(() => hold(plain, 'bf16'));
    expect(inUse() - before).toBe(2 * 16 * 1024);
    expect(dataOf(more).halves?.length).toBe(16 * 1024);
    expect(tf.memory()).toHaveProperty('numBytesInUse', inUse());
    more.dispose();
    expect(inUse()).toBe(before);
    expect(dataOf(held).halves).toBeInstanceOf(Uint16Array);
  });

  test('is shared by views and clones, which keep it', () => {
    const [held, plain] = pair([3, 35]);
    const views = tf.tidy(() => [
      tf.reshape(held, [35, 3]),
      tf.clone(held),
      tf.expandDims(held, 1),
    ]);
    made.push(...views);
    for (const view of views) expect(dataOf(view)).toBe(dataOf(held));
    held.dispose();
    for (const view of views) expect(view.dataSync()).toEqual(plain.dataSync());
  });

  // Kernels of the addon that read float32 alone, kernels of llmkit's own, and the cpu's.
  test.each<[string, (x: tf.Tensor) => tf.Tensor]>([
    ['add', (x) => tf.add(x, x)],
    ['add of float32', (x) => tf.add(x, tf.ones(x.shape))],
    ['exp', (x) => tf.exp(x)],
    ['sum', (x) => tf.sum(x, 0)],
    ['softmax', (x) => tf.softmax(x as tf.Tensor2D)],
    ['matMul', (x) => tf.matMul(x as tf.Tensor2D, x as tf.Tensor2D, false, true)],
    ['transpose', (x) => tf.transpose(x)],
    ['slice', (x) => tf.slice(x, [1, 2], [3, 11])],
    ['concat', (x) => tf.concat([x, x], 1)],
    [
      'pad',
      (x) =>
        tf.pad(x, [
          [1, 0],
          [0, 2],
        ]),
    ],
    ['gather', (x) => tf.gather(x, tf.tensor1d([2, 0], 'int32'))],
    ['cast', (x) => tf.cast(x, 'int32')],
    ['argMax', (x) => tf.argMax(x, 1)],
    ['cumsum', (x) => tf.cumsum(x, 1)],
    ['reverse', (x) => tf.reverse(x, 1)],
    ['where', (x) => tf.where(tf.greater(x, 0), x, tf.zerosLike(x))],
    ['topk', (x) => tf.topk(x, 3).values],
  ])('%s of it is that of its values', (_, op) => {
    const [held, plain] = pair([5, 33]);
    const { inUseBytes } = native().pool;
    const [got, want] = tf.tidy(() => [op(held).dataSync(), op(plain).dataSync()]);
    expect(got).toEqual(want);
    expect(native().pool.inUseBytes).toBe(inUseBytes);
  });

  test('becomes float32 when it is changed in place', () => {
    const [held, plain] = pair([7]);
    const { inUseBytes } = native().pool;
    native().changing(held)[2] = 0.1;
    expect(dataOf(held).halves).toBeUndefined();
    const want = plain.dataSync();
    want[2] = 0.1;
    expect(held.dataSync()).toEqual(want);
    expect(native().pool.inUseBytes).toBeGreaterThan(inUseBytes);
  });

  test('goes to another backend as its values', async () => {
    const [held, plain] = pair([2, 9]);
    await useTestBackend('reference');
    const sum = tf.tidy(() => tf.add(held, 1).dataSync());
    expect(sum).toEqual(tf.tidy(() => tf.add(plain, 1).dataSync()));
    await useTestBackend('native');
    expect(held.dataSync()).toEqual(plain.dataSync());
  });
});
