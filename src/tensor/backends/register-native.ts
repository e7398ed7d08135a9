import { fusedGradients } from '../ops/gradients.js';
import * as tf from '../tfjs.js';
import type { Addon } from './addon.js';
import { NativeBackend } from './native-backend.js';
import { nativeKernels } from './native-kernels/index.js';
import type { KernelParams, NativeKernel } from './native-kernels/kernel.js';

/** Makes the `native` backend known to tfjs: its own kernels, and the cpu's for all others. */
export function registerNative(addon: Addon): void {
  const native = new NativeBackend(addon);
  tf.registerBackend('native', () => native);
  const cpuKernels = new Map(
    tf.getKernelsForBackend('cpu').map((config) => [config.kernelName, config.kernelFunc]),
  );
  for (const kernelName of new Set([...cpuKernels.keys(), ...Object.keys(nativeKernels)])) {
    const kernel = nativeKernels[kernelName];
    const cpuKernel = cpuKernels.get(kernelName);
    const fallback = cpuKernel && onOwnStorage(native, cpuKernel);
    const kernelFunc = kernel ? ownKernel(native, kernel, fallback) : fallback;
    if (kernelFunc) tf.registerKernel({ kernelName, backendName: 'native', kernelFunc });
  }
  fusedGradients.forEach(tf.registerGradient);
}

function ownKernel(
  native: NativeBackend,
  kernel: NativeKernel,
  fallback: tf.KernelFunc | undefined,
): tf.KernelFunc {
  return (params) =>
    kernel(params as KernelParams, native, () => {
      if (fallback === undefined) throw new Error('this kernel has no fallback');
      return fallback(params);
    });
}

/**
 * A cpu kernel may return a view of an input's array. Storage here is written again after its
 * tensor is gone, so such an output gets a copy.
 */
function onOwnStorage(native: NativeBackend, cpuKernel: tf.KernelFunc): tf.KernelFunc {
  return (params) => {
    const result = cpuKernel({ ...params, backend: native });
    const given = Object.values(params.inputs).filter((x) => x != null);
    const inputs = new Set(given.flatMap((x) => native.arraysOf(x)));
    const buffers = new Set([...inputs].map((data) => data.values?.buffer));
    for (const output of [result].flat()) {
      for (const data of native.arraysOf(output)) {
        if (!inputs.has(data) && buffers.has(data.values?.buffer)) {
          data.values = data.values?.slice();
        }
      }
    }
    return result;
  };
}
