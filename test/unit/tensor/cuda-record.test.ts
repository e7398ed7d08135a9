import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { DeviceInfo } from '../../../src/tensor/backends/addon-device.js';
import { everTested, testedAt } from '../../../src/tensor/backends/cuda-record.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const H200: DeviceInfo = {
  name: 'NVIDIA H200',
  memoryBytes: 2 ** 37,
  freeBytes: 2 ** 36,
  computeCapability: '9.0',
  multiprocessors: 132,
  driverCuda: '13.0',
  runtime: '13.0',
  leastDriver: '580',
  warpgroups: 'same-bits',
  shown: [{ name: 'NVIDIA H200', memoryBytes: 2 ** 37, computeCapability: '9.0' }],
  emulated: false,
};

test('a passed test run is of one build and one kind of GPU', () => {
  const path = join(temporaryFolder(), 'llmkit_cuda.node');
  writeFileSync(path, 'a build');
  expect(testedAt({ path, device: H200 })).toBeUndefined();
  const record = {
    addon_sha256: createHash('sha256').update('a build').digest('hex'),
    gpu: H200.name,
    compute_capability: '9.0',
    driver_cuda: '13.0',
    tested_at: '2026-11-21T00:00:00.000Z',
  };
  const records = path.replace('.node', '.tested.json');
  writeFileSync(records, JSON.stringify([record]));
  expect(testedAt({ path, device: H200 })).toBe(record.tested_at);
  expect(testedAt({ path, device: { ...H200, name: 'NVIDIA L4' } })).toBeUndefined();
  expect(everTested(path)).toBe(true);
  writeFileSync(path, 'another build');
  expect(everTested(path)).toBe(false);
  expect(testedAt({ path, device: H200 })).toBeUndefined();
  writeFileSync(records, 'not JSON');
  expect(testedAt({ path, device: H200 })).toBeUndefined();
});
