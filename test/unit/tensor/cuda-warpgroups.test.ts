import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import type { DeviceAddon } from '../../../src/tensor/backends/addon-device.js';
import type { Compute } from '../../../src/tensor/compute.js';
import { randomNormal } from '../../helpers/random.js';
import { randomWeight } from './weights.js';

// A chip of compute capability 9.0 whose wgmma does not give the bits of mma.sync.
process.env.LLMKIT_EMULATED_SHARED = '232448';
process.env.LLMKIT_EMULATED_WARPGROUPS = 'other';
const addon = createRequire(import.meta.url)(
  '../../../build/llmkit_cuda_emulated.node',
) as DeviceAddon;

const [M, ROWS, COLS] = [40, 70, 256];

function product(compute: Compute, m: number): Float32Array {
  const { data } = randomWeight('int4', ROWS, COLS);
  const weight = addon.createWeight(data, compute);
  const x = addon.upload(randomNormal(M * COLS, 1).slice(0, m * COLS));
  const y = addon.allocate(m * ROWS, 'float32');
  addon.linear(x, weight, null, y, COLS);
  addon.disposeWeight(weight);
  return addon.readSync(y);
}

/** Attention of the first `queries` of 140 to all keys that they see, one head of 64 values. */
function attended(warpgroups: boolean, queries: number): Float32Array {
  const [T, E] = [140, 64];
  const [q, k, v] = [1, 2, 3].map((seed) => randomNormal(T * E, seed));
  const last = Int32Array.from({ length: queries }, (_, i) => i);
  const y = addon.allocate(queries * E, 'float32');
  addon.attention(
    addon.upload((q as Float32Array).slice(0, queries * E)),
    addon.upload(k as Float32Array),
    addon.upload(v as Float32Array),
    addon.upload(new Int32Array(queries)),
    addon.upload(last),
    null,
    y,
    null,
    [1, queries, T, 1, 1, E],
    0.125,
    0,
    true,
    true,
    warpgroups,
  );
  return addon.readSync(y);
}

test('the chip says so when it is opened', () => {
  expect(addon.deviceInfo().warpgroups).toBe('other-bits');
});

test('a product of either type is of one kind for any number of rows', () => {
  const [bf16, wgmma] = [product('bf16', M), product('bf16-wgmma', M)];
  expect(wgmma).not.toEqual(bf16);
  for (const m of [1, 3, 17]) {
    expect(product('bf16', m)).toEqual(bf16.slice(0, m * ROWS));
    expect(product('bf16-wgmma', m)).toEqual(wgmma.slice(0, m * ROWS));
  }
});

test('so is attention', () => {
  const [bf16, wgmma] = [attended(false, 140), attended(true, 140)];
  expect(wgmma).not.toEqual(bf16);
  for (const queries of [1, 70]) {
    expect(attended(false, queries)).toEqual(bf16.slice(0, queries * 64));
    expect(attended(true, queries)).toEqual(wgmma.slice(0, queries * 64));
  }
});
