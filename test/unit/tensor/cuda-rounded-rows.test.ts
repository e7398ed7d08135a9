import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import type { DeviceAddon } from '../../../src/tensor/backends/addon-device.js';
import type { DeviceFloats } from '../../../src/tensor/backends/arrays.js';
import { randomNormal } from '../../helpers/random.js';
import { randomWeight } from './weights.js';

const addon = createRequire(import.meta.url)(
  '../../../build/llmkit_cuda_emulated.node',
) as DeviceAddon;

const ROWS = 70;
const EPS = 1e-5;

function product(x: DeviceFloats, cols: number): Float32Array {
  const { data } = randomWeight('int4', ROWS, cols);
  const weight = addon.createWeight(data, 'bf16');
  const y = addon.allocate((x.length / cols) * ROWS, 'float32');
  addon.linear(x, weight, null, y, cols);
  addon.disposeWeight(weight);
  return addon.readSync(y);
}

/** The product of an array and that of its values, which nothing was made along with. */
function bothProducts(x: DeviceFloats, cols: number): [Float32Array, Float32Array] {
  const got = product(x, cols);
  return [got, product(addon.upload(addon.readSync(x)), cols)];
}

function normOf(m: number, cols: number): DeviceFloats {
  const y = addon.allocate(m * cols, 'float32');
  const weight = addon.upload(randomNormal(cols, 2));
  addon.rmsNorm(addon.upload(randomNormal(m * cols, 1)), weight, EPS, y);
  return y;
}

describe('what a call makes for the product after it', () => {
  test.each([
    [1, 128],
    [4, 128],
    [16, 64],
    [17, 64],
    [3, 96],
    [5, 320],
  ])('is what the product would make: norm of %i x %i', (m, cols) => {
    const [got, want] = bothProducts(normOf(m, cols), cols);
    expect(got).toEqual(want);
  });

  test('is of the rows that the product sees', () => {
    const [got, want] = bothProducts(normOf(4, 128), 64);
    expect(got).toEqual(want);
  });

  test.each([
    ['a gated product', ['int4', 'int4']],
    ['a gated product of unlike weights', ['int4', 'nf4']],
  ])('of %s', (_, kinds) => {
    const [m, cols] = [3, 64];
    const [gate, up] = kinds.map((kind) =>
      addon.createWeight(randomWeight(kind, 64, cols).data, 'bf16'),
    ) as [never, never];
    const y = addon.allocate(m * 64, 'float32');
    addon.gatedLinear('silu', normOf(m, cols), cols, gate, null, y, up, null, null);
    const [got, want] = bothProducts(y, 64);
    expect(got).toEqual(want);
  });

  test('of an activated product', () => {
    const weight = addon.createWeight(randomWeight('int4', 64, 128).data, 'bf16');
    const y = addon.allocate(3 * 64, 'float32');
    addon.activatedLinear('gelu_tanh', normOf(3, 128), weight, null, y, 128);
    const [got, want] = bothProducts(y, 64);
    expect(got).toEqual(want);
  });

  test.each([
    ['fill', (y: DeviceFloats) => addon.fill(y, 0.5)],
    ['copy', (y: DeviceFloats) => addon.copy(addon.upload(randomNormal(y.length, 7)), y)],
    ['unary', (y: DeviceFloats) => addon.unary('neg', y, y)],
    [
      'stridedCopy',
      (y: DeviceFloats) =>
        addon.stridedCopy(addon.upload(randomNormal(9, 7)), y, [9], 0, [1], 5, [2]),
    ],
  ])('is forgotten with %s', (_, change) => {
    const y = normOf(3, 128);
    change(y);
    const [got, want] = bothProducts(y, 128);
    expect(got).toEqual(want);
  });
});
