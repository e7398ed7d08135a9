import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { deviceChoice, driverIsThere } from '../../../src/tensor/backends/device-choice.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import { type ComputeDevice, choiceOn, computeOf } from '../../../src/tensor/compute.js';
import type { WeightFormat } from '../../../src/tensor/weight.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

afterEach(() => vi.unstubAllEnvs());

test('the device is that of the flag, else of LLMKIT_DEVICE, else auto', () => {
  expect(deviceChoice('cpu', { LLMKIT_DEVICE: 'cuda' })).toBe('cpu');
  expect(deviceChoice('auto', { LLMKIT_DEVICE: 'cuda' })).toBe('cuda');
  expect(deviceChoice(undefined, { LLMKIT_DEVICE: '' })).toBe('auto');
  expect(() => deviceChoice('tpu', {})).toThrow(
    "device: expected one of cpu, cuda, auto, got 'tpu'",
  );
  expect(() => deviceChoice('auto', { LLMKIT_DEVICE: 'gpu' })).toThrow('LLMKIT_DEVICE: expected');
});

test('a driver is known by its library', () => {
  const folder = temporaryFolder();
  const before = driverIsThere({ LD_LIBRARY_PATH: folder });
  writeFileSync(join(folder, 'libcuda.so.1'), '');
  expect(driverIsThere({ LD_LIBRARY_PATH: `/nowhere:${folder}` })).toBe(true);
  expect(driverIsThere({})).toBe(before);
});

describe('cuda that cannot be used', () => {
  test('is an error where it is asked for', async () => {
    vi.stubEnv('LLMKIT_CUDA_ADDON', 'nowhere.node');
    const unsupported = { code: 'unsupported', message: expect.stringContaining('is not built') };
    await expect(useBackend('native', { device: 'cuda' })).rejects.toMatchObject(unsupported);
    vi.stubEnv('LLMKIT_BACKEND', 'native');
    vi.stubEnv('LLMKIT_DEVICE', 'cuda');
    await expect(useBackend()).rejects.toMatchObject(unsupported);
  });

  test('leaves the choice to the CPU where it is not', async () => {
    vi.stubEnv('LLMKIT_CUDA_ADDON', 'nowhere.node');
    vi.stubEnv('LLMKIT_DEVICE', 'auto');
    expect((await useBackend('native')).device).toBe('cpu');
  });

  test('is a device of native alone', async () => {
    const refused = useBackend('reference', { device: 'cuda' });
    await expect(refused).rejects.toMatchObject({ code: 'usage' });
    vi.stubEnv('LLMKIT_DEVICE', 'cuda');
    expect((await useBackend('reference')).device).toBe('cpu');
  });
});

test('on a GPU auto is bf16 where the CPU takes int8, and int8 is an error', () => {
  expect(choiceOn({ device: 'cuda' }, 'auto', 'generate')).toBe('bf16');
  expect(choiceOn({ device: 'cuda' }, 'auto', 'exact')).toBe('auto');
  expect(choiceOn({ device: 'cpu' }, 'auto', 'generate')).toBe('auto');
  const refused = () => choiceOn({ device: 'cuda' }, 'int8', 'generate');
  expect(refused).toThrow('--compute int8 has no CUDA kernels');
});

test('training dequantizes to bf16 on the CPU alone', () => {
  const formats: readonly WeightFormat[] = ['nf4', 'fp4', 'int4', 'int8'];
  for (const format of formats) {
    expect(computeOf('auto', 'train', format)).toBe('bf16-dequantized');
  }
  expect(computeOf('bf16-dequantized', 'train', 'bf16')).toBe('bf16');
  expect(computeOf('bf16-dequantized', 'train', 'f32')).toBe('f32');
  const choice = 'bf16-dequantized';
  expect(choiceOn({ device: 'cpu' }, choice, 'train')).toBe(choice);
  expect(choiceOn({ device: 'cuda' }, 'auto', 'train')).toBe('bf16');
  expect(() => choiceOn({ device: 'cuda' }, choice, 'train')).toThrow(
    'has no CUDA kernels; use bf16',
  );
  for (const use of ['exact', 'generate'] as const) {
    expect(() => choiceOn({ device: 'cpu' }, choice, use)).toThrow('is for training; use bf16');
  }
});

test('training takes the products of warpgroups under a type of their own where they have other bits', () => {
  const [same, other] = (['same-bits', 'other-bits'] as const).map((warpgroups) => ({
    device: 'cuda',
    warpgroups,
  })) as [ComputeDevice, ComputeDevice];
  expect(choiceOn(other, 'auto', 'train')).toBe('bf16-wgmma');
  expect(choiceOn(other, 'bf16', 'train')).toBe('bf16');
  expect(choiceOn(other, 'auto', 'generate')).toBe('bf16');
  expect(choiceOn(same, 'auto', 'train')).toBe('bf16');
  expect(choiceOn(same, 'bf16-wgmma', 'train')).toBe('bf16-wgmma');
  expect(() => choiceOn(other, 'bf16-wgmma', 'generate')).toThrow('is for training; use bf16');
  for (const without of [{ device: 'cpu' }, { device: 'cuda', warpgroups: 'none' as const }]) {
    expect(() => choiceOn(without, 'bf16-wgmma', 'train')).toThrow('compute capability 9.0');
  }
});
