import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nvidiaDriver } from '../../../src/tensor/backends/nvidia-driver.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

test.each([
  ['UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024', '550.54.14'],
  ['UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root@host)', '580.65.06'],
  ['UNIX Open Kernel Module for aarch64  570.124  Release Build  (root@host)', '570.124'],
  ['UNIX Kernel Module', undefined],
])('the driver says %j', (line, version) => {
  const file = join(temporaryFolder(), 'version');
  writeFileSync(file, `NVRM version: NVIDIA ${line}\nGCC version:  gcc version 12.2.0 (Debian)\n`);
  expect(nvidiaDriver(file)).toBe(version);
});

test('where there is no driver, no version', () => {
  expect(nvidiaDriver(join(temporaryFolder(), 'version'))).toBeUndefined();
});
