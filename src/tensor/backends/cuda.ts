import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { LlmkitError } from '../../errors.js';
import type { DeviceAddon, DeviceInfo } from './addon-device.js';
import { DEVICE_FUNCTIONS } from './cuda-functions.js';
import { packageRoot } from './package-root.js';

/** The GPU's addon, loaded, on a GPU that it can use. */
export interface LoadedCuda {
  readonly addon: DeviceAddon;
  readonly device: DeviceInfo;
  /** The addon's file. */
  readonly path: string;
}

/** The addon's file: LLMKIT_CUDA_ADDON names another, the one on the emulated device say. */
export function cudaAddonPath(env: NodeJS.ProcessEnv = process.env): string {
  return resolve(env.LLMKIT_CUDA_ADDON || join(packageRoot(), 'build', 'llmkit_cuda.node'));
}

/** Whether the GPU's addon is built. */
export function cudaIsBuilt(): boolean {
  return existsSync(cudaAddonPath());
}

/**
 * Loads the GPU's addon, build/llmkit_cuda.node of the package, and opens the GPU.
 *
 * @throws LlmkitError `unsupported` when it is not built or does not load, or when there is no GPU that it can
 *   use, saying why and how to mend it
 */
export function loadCuda(): LoadedCuda {
  const path = cudaAddonPath();
  if (!existsSync(path)) {
    throw new LlmkitError(
      'unsupported',
      `cuda: ${path} is not built; build it with \`node scripts/build-cuda.js\` (needs CUDA's nvcc 12 or newer)`,
    );
  }
  const addon = requireAddon(path);
  const missing = Object.keys(DEVICE_FUNCTIONS).filter((name) => !(name in addon));
  if (missing.length > 0) {
    const names = missing.slice(0, 3).join(', ');
    throw doesNotLoad(path, `it is of another version, without ${names}`);
  }
  try {
    return { addon, device: addon.deviceInfo(), path };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new LlmkitError('unsupported', `cuda: ${why}`, { cause });
  }
}

function requireAddon(path: string): DeviceAddon {
  try {
    return createRequire(import.meta.url)(path) as DeviceAddon;
  } catch (cause) {
    throw doesNotLoad(path, String(cause), cause);
  }
}

function doesNotLoad(path: string, why: string, cause?: unknown): LlmkitError {
  const mend = 'build it anew with `node scripts/build-cuda.js`';
  return new LlmkitError('unsupported', `cuda: ${path} does not load: ${why}; ${mend}`, { cause });
}
