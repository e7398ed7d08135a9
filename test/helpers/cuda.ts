import type { DeviceAddon } from '../../src/tensor/backends/addon-device.js';
import { loadCuda } from '../../src/tensor/backends/cuda.js';
import { useBackend } from '../../src/tensor/backends/index.js';

/**
 * Switches to a GPU: the one that is emulated on the host, as `npm test` builds it; with LLMKIT_DEVICE=cuda
 * what that means.
 */
export async function useCuda(): Promise<DeviceAddon> {
  if (process.env.LLMKIT_DEVICE !== 'cuda') {
    process.env.LLMKIT_CUDA_ADDON ??= 'build/llmkit_cuda_emulated.node';
  }
  await useBackend('native', { device: 'cuda' });
  return loadCuda().addon;
}
