import { LlmkitError } from '../../errors.js';
import { fusedGradients } from '../ops/index.js';
import * as tf from '../tfjs.js';
import type { DeviceAddon } from './addon-device.js';
import { CudaBackend } from './cuda-backend.js';
import { deviceKernels, nativeKernels } from './native-kernels/index.js';
import type { DeviceKernel, KernelParams, NativeKernel } from './native-kernels/kernel.js';
import { useTensorTable } from './tensor-table.js';

/**
 * Makes the `cuda` backend known to tfjs: the kernels of its addon, and the cpu's for all others, which compute
 * on the host.
 */
export function registerCuda(addon: DeviceAddon): void {
  useTensorTable();
  tf.registerBackend('cuda', () => new CudaBackend(addon));
  const cpuKernels = new Map(
    tf.getKernelsForBackend('cpu').map((config) => [config.kernelName, config.kernelFunc]),
  );
  const kernels: Readonly<Record<string, NativeKernel | DeviceKernel>> = {
    ...nativeKernels,
    ...deviceKernels,
  };
  for (const kernelName of new Set([...cpuKernels.keys(), ...Object.keys(kernels)])) {
    const kernel = kernels[kernelName];
    const onHost = cpuKernels.get(kernelName);
    const kernelFunc = kernel === undefined ? onHost : withFallback(kernel, onHost ?? noFallback);
    if (kernelFunc) tf.registerKernel({ kernelName, backendName: 'cuda', kernelFunc });
  }
  fusedGradients.forEach(tf.registerGradient);
}

function withFallback(kernel: NativeKernel | DeviceKernel, onHost: tf.KernelFunc): tf.KernelFunc {
  return (params) =>
    kernel(params as KernelParams, params.backend as CudaBackend, () => onHost(params));
}

const noFallback: tf.KernelFunc = () => {
  throw new LlmkitError('kernel', 'cuda: this kernel has no fallback');
};
