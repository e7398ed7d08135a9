import { beforeAll, describe, expect, test } from 'vitest';
import type { CudaBackend } from '../../../src/tensor/backends/cuda-backend.js';
import { embedding } from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { Weight } from '../../../src/tensor/weight.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';

const backend = () => tf.backend() as CudaBackend;

describe.runIf(testedBackends.includes('cuda'))('tensors on a GPU', () => {
  beforeAll(() => useTestBackend('cuda'));

  test('kernels that the GPU lacks compute on the host', () => {
    const values = tf.tidy(() => {
      const x = tf.mul(tf.tensor1d([3, -1, 2, 5]), 2);
      const { values, indices } = tf.topk(x, 2);
      const chosen = tf.add(tf.gather(x, indices), values);
      return [tf.sin(x), tf.cumsum(x), chosen].map((y) => Array.from(y.dataSync()));
    });
    const sines = [6, -2, 4, 10].map(Math.sin);
    for (const [i, sine] of sines.entries()) expect(values[0]?.[i]).toBeCloseTo(sine, 6);
    expect(values.slice(1)).toEqual([
      [6, 4, 8, 18],
      [20, 12],
    ]);
  });

  test('int32 and bool tensors go to the GPU and come back', () => {
    const [ids, flags, sum] = tf.tidy(() => {
      const largest = tf.argMax(tf.tensor2d([1, 9, 3, 7, 2, 5], [2, 3]), 1);
      const isOne = tf.equal(largest, tf.scalar(1, 'int32'));
      const sums = tf.add(tf.cast(isOne, 'float32'), tf.cast(largest, 'float32'));
      return [largest, isOne, sums].map((y) => [y.dtype, ...y.dataSync()]);
    }) as [unknown[], unknown[], unknown[]];
    expect([ids, flags, sum]).toEqual([
      ['int32', 1, 0],
      ['bool', 1, 0],
      ['float32', 2, 0],
    ]);
  });

  test('data() waits beside JavaScript and gives a copy', async () => {
    const x = tf.ones([1000]);
    const y = tf.add(x, 1);
    const promise = y.data();
    y.dispose();
    expect((await promise).every((value) => value === 2)).toBe(true);
    x.dispose();
  });

  test('memory() shows the bytes on the GPU, which a disposed tensor gives back', () => {
    const bytes = () => (tf.memory() as unknown as { numBytesInGPU: number }).numBytesInGPU;
    const before = bytes();
    const x = tf.tidy(() => tf.add(tf.zeros([1 << 20]), 1));
    expect(bytes() - before).toBe(1 << 22);
    x.dispose();
    expect(bytes()).toBe(before);
  });

  test('a lack of memory says what was asked, what is free and what to change', () => {
    const { memoryBytes } = backend().addon.deviceInfo();
    const message = /allocate: no memory on the GPU for .* GiB: .* free; .* make the batch/;
    expect(() => backend().output([1], memoryBytes / 2)).toThrow(message);
    expect(tf.tidy(() => tf.ones([3]).dataSync())).toEqual(Float32Array.of(1, 1, 1));
  });

  test('ids that only the GPU has are refused when a result is read', async () => {
    const ids = () => tf.argMax(tf.tensor2d([0, 0, 0, 7], [1, 4]), 1);
    const rows = () => tf.tidy(() => tf.gather(tf.ones([3, 5]), ids()));
    const message = 'ids on the GPU must be in 0..2, got 3';
    const table = new Weight({ format: 'f32', rows: 2, cols: 4, codes: new Uint8Array(32) });
    const [wrong, embedded, later] = [
      rows(),
      tf.tidy(() => embedding(tf.reshape(ids(), [1, 1]), table)),
      rows(),
    ];
    expect(() => wrong.dataSync()).toThrow(/must be in 0\.\.[12], got 3/);
    expect([...wrong.dataSync()]).toEqual(Array(5).fill(Number.NaN));
    const again = rows();
    await expect(again.data()).rejects.toThrow(message);
    expect(() => tf.dispose([wrong, embedded, later, again])).not.toThrow();
    table.dispose();
  });

  test('so are those of sums and of losses', () => {
    const { addon } = backend();
    const [ids, x, y, loss, sum] = [
      addon.upload(Int32Array.of(3)),
      addon.upload(Float32Array.of(1, 2)),
      addon.upload(new Float32Array(4)),
      addon.upload(Float32Array.of(0)),
      addon.upload(Float32Array.of(0)),
    ];
    addon.scatterAdd(x, ids, y, 2);
    expect(() => addon.readSync(y)).toThrow('ids on the GPU must be in 0..1, got 3');
    expect(addon.readSync(y)).toEqual(new Float32Array(4));
    addon.crossEntropy(x, y, null, ids, loss, sum, 2, false);
    expect(() => addon.readSync(loss)).toThrow('ids on the GPU must be in 0..1, got 3');
    expect(addon.readSync(loss)).toEqual(Float32Array.of(Number.NaN));
    for (const array of [ids, x, y, loss, sum]) addon.release(array);
  });

  test('an array that was released, or is of another type, is not used', () => {
    const { addon } = backend();
    const array = addon.upload(Float32Array.of(1, 2));
    expect(() => addon.argmax(array, array as never, 2)).toThrow('must be an int32 array');
    expect(() => addon.unary('abs', Float32Array.of(1) as never, array)).toThrow('of the GPU');
    addon.release(array);
    expect(() => addon.readSync(array)).toThrow('the array has been released');
  });
});
