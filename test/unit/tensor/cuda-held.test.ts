import { describe, expect, test } from 'vitest';
import type { DeviceFloats } from '../../../src/tensor/backends/arrays.js';
import type { CudaBackend } from '../../../src/tensor/backends/cuda-backend.js';
import { hold } from '../../../src/tensor/ops/index.js';
import { toBf16 } from '../../../src/tensor/rounded-operands.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { useCuda } from '../../helpers/cuda.js';
import { randomNormal } from '../../helpers/random.js';
import { randomWeight } from './weights.js';

const addon = await useCuda();
const backend = () => tf.backend() as CudaBackend;

/** The values, held as bf16. */
function held(values: Float32Array): DeviceFloats {
  const y = addon.allocate(values.length, 'bfloat16');
  const x = addon.upload(values);
  addon.convert(x, y);
  addon.release(x);
  return y;
}

const VALUES = randomNormal(1000, 1);
const ROUNDED = toBf16(VALUES);

describe('an array held as bf16', () => {
  test('is read as the nearest values', async () => {
    const x = held(VALUES);
    expect(addon.readSync(x)).toEqual(ROUNDED);
    expect(await addon.read(x)).toEqual(ROUNDED);
    expect(x.length).toBe(1000);
  });

  test('takes half the memory', () => {
    const before = addon.deviceMemory().inUseBytes;
    const x = held(randomNormal(1 << 20, 2));
    expect(addon.deviceMemory().inUseBytes - before).toBe(2 << 20);
    addon.release(x);
    expect(addon.deviceMemory().inUseBytes).toBe(before);
  });

  test('is float32 to functions that know nothing of it', () => {
    const x = held(VALUES);
    const [y, part] = [addon.allocate(1000, 'float32'), addon.allocate(10, 'float32')];
    addon.unary('neg', x, y);
    expect(addon.readSync(y)).toEqual(ROUNDED.map((value) => -value));
    addon.stridedCopy(x, part, [10], 3, [7], 0, [1]);
    expect(addon.readSync(part)).toEqual(part10(ROUNDED));
    const memory = addon.deviceMemory().inUseBytes;
    addon.unary('neg', x, y);
    expect(addon.deviceMemory().inUseBytes).toBe(memory);
  });

  test('is not written by functions that know nothing of it', () => {
    const [x, y] = [held(VALUES), addon.allocate(1000, 'bfloat16')];
    expect(() => addon.unary('neg', x, y)).toThrow('nothing has written');
    expect(() => addon.fill(y, 1)).toThrow('of words of 4 bytes');
    expect(() => addon.copy(addon.upload(VALUES), y)).toThrow('of the type of argument 1');
    expect(() => addon.readSync(y)).toThrow('nothing has written');
    addon.copy(x, y);
    expect(addon.readSync(y)).toEqual(ROUNDED);
  });

  test('visits the GPU as any other', () => {
    const arrays = Array.from({ length: 9 }, (_, i) => held(randomNormal(4096, i)));
    for (const x of arrays) addon.keepArrayOnHost(x);
    expect(addon.hostArrays().hostBytes).toBe(9 * 2 * 4096);
    for (const [i, x] of arrays.entries()) {
      expect(addon.readSync(x)).toEqual(toBf16(randomNormal(4096, i)));
    }
    for (const x of arrays) addon.release(x);
  });
});

describe('a tensor held as bf16', () => {
  const bytes = () => addon.deviceMemory().inUseBytes;

  test('takes half the memory of a GPU, its views none', () => {
    const x = tf.tensor(randomNormal(1 << 16, 1), [256, 256]);
    tf.dispose(tf.tidy(() => tf.neg(x)));
    const before = bytes();
    const held = tf.tidy(() => hold(x, 'bf16'));
    const view = tf.tidy(() => tf.reshape(held, [512, 128]));
    expect(bytes() - before).toBe(2 << 16);
    held.dispose();
    expect(view.dataSync()).toEqual(toBf16(randomNormal(1 << 16, 1)));
    tf.dispose([x, view]);
  });

  test.each([false, true])('is float32 once it is changed in place, on the host: %s', (paged) => {
    const x = tf.tensor1d(VALUES);
    const held = tf.tidy(() => hold(x, 'bf16'));
    if (paged) backend().keepOnHost(held);
    addon.unary('neg', backend().floats(x), backend().changing(held));
    expect(held.dataSync()).toEqual(VALUES.map((value) => -value));
    tf.dispose([x, held]);
  });
});

function part10(values: Float32Array): Float32Array {
  return Float32Array.from({ length: 10 }, (_, i) => values[3 + 7 * i] as number);
}

describe('products with arrays held as bf16', () => {
  const [M, COLS, ROWS] = [21, 128, 70];
  const { data } = randomWeight('int4', ROWS, COLS);
  const weight = addon.createWeight(data, 'bf16');
  const x = randomNormal(M * COLS, 3);

  test('give the bits of x in float32, and y is that rounded', () => {
    const product = (x: DeviceFloats, type: 'float32' | 'bfloat16') => {
      const y = addon.allocate(M * ROWS, type as 'float32');
      addon.linear(x, weight, null, y, COLS);
      return addon.readSync(y);
    };
    const want = product(addon.upload(x), 'float32');
    expect(product(held(x), 'float32')).toEqual(want);
    expect(product(held(x), 'bfloat16')).toEqual(toBf16(want));
  });

  test('with LoRA too', () => {
    const a = addon.upload(randomNormal(8 * COLS, 4));
    const b = addon.upload(randomNormal(8 * ROWS, 5));
    const product = (x: DeviceFloats, type: 'float32' | 'bfloat16') => {
      const y = addon.allocate(M * ROWS, type as 'float32');
      const low = addon.allocate(M * 8, 'float32');
      addon.loraLinear(x, x, weight, a, b, 2, null, y, low, COLS);
      return [y, low].map((array) => addon.readSync(array));
    };
    const [y, low] = product(addon.upload(toBf16(x)), 'float32') as [Float32Array, Float32Array];
    expect(product(held(x), 'float32')).toEqual([y, low]);
    expect(product(held(x), 'bfloat16')).toEqual([toBf16(y), low]);
  });

  test('of weights that compute in float32 do not round y', () => {
    const exact = addon.createWeight(data, 'f32');
    const y = addon.allocate(M * ROWS, 'bfloat16');
    expect(() => addon.linear(held(x), exact, null, y, COLS)).toThrow('nothing has written');
    addon.disposeWeight(exact);
  });
});
