import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { LlmkitError } from '../../errors.js';

/** Where `native` computes. */
export type Device = 'cpu' | 'cuda';

/** What `--device` and LLMKIT_DEVICE may say. */
export const DEVICE_CHOICES = ['cpu', 'cuda', 'auto'] as const;
export type DeviceChoice = (typeof DEVICE_CHOICES)[number];

/**
 * The choice, else that of LLMKIT_DEVICE, else auto.
 *
 * @throws LlmkitError `usage` for anything else
 */
export function deviceChoice(
  choice: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): DeviceChoice {
  const [where, name] =
    choice === undefined || choice === 'auto'
      ? ['LLMKIT_DEVICE', env.LLMKIT_DEVICE || 'auto']
      : ['device', choice];
  const found = DEVICE_CHOICES.find((known) => known === name);
  if (found !== undefined) return found;
  const expected = DEVICE_CHOICES.join(', ');
  throw new LlmkitError('usage', `${where}: expected one of ${expected}, got '${name}'`);
}

const DRIVER = 'libcuda.so.1';
const LIBRARY_FOLDERS = [
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/usr/lib64',
  '/usr/local/nvidia/lib64',
  '/usr/lib/wsl/lib',
  '/run/opengl-driver/lib',
];

/** Whether there is an NVIDIA driver, by its files: looking costs some microseconds, loading it many milliseconds. */
export function driverIsThere(env: NodeJS.ProcessEnv = process.env): boolean {
  if (existsSync('/proc/driver/nvidia/version')) return true;
  const folders = [...(env.LD_LIBRARY_PATH ?? '').split(':').filter(Boolean), ...LIBRARY_FOLDERS];
  return folders.some((folder) => existsSync(join(folder, DRIVER)));
}

/** Whether the driver has a GPU, by its files. */
export function gpuIsThere(): boolean {
  if (existsSync('/dev/dxg') || existsSync('/dev/nvidia0')) return true;
  try {
    return readdirSync('/proc/driver/nvidia/gpus').length > 0;
  } catch {
    return false;
  }
}
