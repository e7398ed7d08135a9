import { afterEach, describe, expect, test } from 'vitest';
import type { WeightHandle } from '../../../src/tensor/backends/addon.js';
import type { Compute } from '../../../src/tensor/compute.js';
import { useCuda } from '../../helpers/cuda.js';
import { randomNormal } from '../../helpers/random.js';
import { randomWeight } from './weights.js';

const addon = await useCuda();

/** Layers of two square weights, those of the third larger. */
const LAYERS = 6;
const sizeOf = (layer: number) => (layer === 2 ? 128 : 64);
const ROWS = 3;
const FORWARD = [0, 1, 2, 3, 4, 5];
const BACKWARD = [...FORWARD].reverse();
/** A forward pass twice, then forward and backward as in training, then a layer out of order. */
const ORDER = [...FORWARD, ...FORWARD, ...BACKWARD, ...FORWARD, ...BACKWARD, 2];

type Layer = readonly [WeightHandle, WeightHandle];

function makeLayers(kind: string, compute: Compute, isOnHost: boolean): readonly Layer[] {
  return Array.from({ length: LAYERS }, (_, layer) => {
    const handles = [0, 1].map((i) => {
      const { data } = randomWeight(kind, sizeOf(layer) + 32 * i, sizeOf(layer));
      // Another weight for each layer, although all come from the same seed.
      data.codes.set([layer + 1, 2 * layer, i], 1);
      const handle = addon.createWeight(data, compute);
      if (isOnHost) addon.keepOnHost(handle, layer);
      return handle;
    });
    return handles as unknown as Layer;
  });
}

/** The products of the layers in order, forward and to the input in turn. */
function products(layers: readonly Layer[]): Float32Array[] {
  const results = ORDER.map((layer, i) => {
    const size = sizeOf(layer);
    return layers[layer]?.map((weight, part) => {
      const rows = size + 32 * part;
      const forward = i % 2 === 0;
      const x = addon.upload(randomNormal(ROWS * (forward ? size : rows), i));
      const y = addon.allocate(ROWS * (forward ? rows : size), 'float32');
      if (forward) addon.linear(x, weight, null, y, size);
      else addon.linearGradInput(x, weight, y, size);
      addon.release(x);
      return y;
    });
  });
  return results.flat().map((y) => {
    const values = addon.readSync(y as never) as Float32Array;
    addon.release(y as never);
    return values;
  });
}

afterEach(() => {
  delete process.env.LLMKIT_EMULATED_STREAMS;
});

describe.each([
  ['nf4 double', 'f32'],
  ['int4 with zeros', 'f32'],
  ['bf16', 'f32'],
  ['nf4', 'bf16'],
  ['int4 with zeros', 'bf16'],
  ['bf16', 'bf16'],
] as const)('%s weights on the host in %s', (kind, compute) => {
  test.each(['late', 'early'])('give the products of weights on the device, copied %s', (when) => {
    process.env.LLMKIT_EMULATED_STREAMS = when;
    const here = makeLayers(kind, compute, false);
    const wanted = products(here);
    for (const weight of here.flat()) addon.disposeWeight(weight);
    const { inUseBytes } = addon.deviceMemory();

    const away = makeLayers(kind, compute, true);
    expect(addon.deviceMemory().inUseBytes).toBe(inUseBytes);
    expect(products(away)).toEqual(wanted);
    const { hostBytes, deviceBytes } = addon.hostWeights();
    expect(deviceBytes).toBeLessThan(hostBytes);
    expect(deviceBytes).toBeGreaterThan(hostBytes / 4);

    for (const weight of away.flat()) addon.disposeWeight(weight);
    expect(addon.hostWeights()).toEqual({ hostBytes: 0, deviceBytes: 0 });
    expect(addon.deviceMemory().inUseBytes).toBe(inUseBytes);
  });
});

test('a weight goes to the host once', () => {
  const { data } = randomWeight('nf4', 32, 64);
  const weight = addon.createWeight(data, 'bf16');
  addon.keepOnHost(weight, 0);
  expect(() => addon.keepOnHost(weight, 1)).toThrow('on the host already');
  addon.disposeWeight(weight);
  expect(() => addon.keepOnHost(weight, 0)).toThrow('disposed');
});

test('the bytes of a weight are known before it is made', () => {
  for (const [kind, compute] of [
    ['nf4', 'f32'],
    ['int4 with zeros', 'bf16'],
    ['bf16', 'bf16'],
  ] as const) {
    const { data } = randomWeight(kind, 96, 128);
    const { format, rows, cols, groupSize = 0, zeros } = data;
    const before = addon.deviceMemory().inUseBytes;
    const weight = addon.createWeight(data, compute);
    const bytes = addon.deviceMemory().inUseBytes - before;
    const known = addon.weightBytes(format, rows, cols, groupSize, zeros !== undefined, compute);
    expect(known).toBeGreaterThan(0.8 * bytes);
    expect(known).toBeLessThan(1.5 * bytes);
    addon.disposeWeight(weight);
  }
});

test('memory has a limit', () => {
  const { inUseBytes, freeBytes } = addon.deviceMemory();
  addon.limitDeviceMemory(inUseBytes + freeBytes + 2 ** 20);
  expect(addon.deviceInfo().freeBytes).toBe(freeBytes + 2 ** 20);
  expect(() => addon.allocate(2 ** 20, 'float32')).toThrow(
    /no memory on the GPU.*--device-map auto/,
  );
  addon.release(addon.allocate(2 ** 17, 'float32'));
  addon.limitDeviceMemory(2 ** 53);
  addon.release(addon.allocate(2 ** 20, 'float32'));
});
