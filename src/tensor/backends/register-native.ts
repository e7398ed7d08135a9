import { LlmkitError } from '../../errors.js';
import { fusedGradients } from '../ops/index.js';
import * as tf from '../tfjs.js';
import type { Addon } from './addon.js';
import { NativeBackend } from './native-backend.js';
import { hostKernels, nativeKernels } from './native-kernels/index.js';
import type { HostKernel, HostKernelTable, KernelParams } from './native-kernels/kernel.js';
import { useTensorTable } from './tensor-table.js';

/** Every kernel that `native` has of its own. */
const kernels: HostKernelTable = { ...nativeKernels, ...hostKernels };

/** Makes the `native` backend known to tfjs: its own kernels, and the cpu's for all others. */
export function registerNative(addon: Addon): void {
  useTensorTable();
  tf.registerBackend('native', () => new NativeBackend(addon));
  const cpuKernels = new Map(
    tf.getKernelsForBackend('cpu').map((config) => [config.kernelName, config.kernelFunc]),
  );
  for (const kernelName of new Set([...cpuKernels.keys(), ...Object.keys(kernels)])) {
    const kernel = kernels[kernelName];
    const fallback = onOwnStorage(cpuKernels.get(kernelName) ?? missing);
    const kernelFunc = kernel === undefined ? fallback : withFallback(kernel, fallback);
    tf.registerKernel({ kernelName, backendName: 'native', kernelFunc });
  }
  fusedGradients.forEach(tf.registerGradient);
}

function withFallback(kernel: HostKernel, fallback: tf.KernelFunc): tf.KernelFunc {
  return (params) => {
    const native = params.backend as NativeBackend;
    const made = kernel(params as KernelParams, native, () => fallback(params));
    native.endKernel();
    return made;
  };
}

const missing: tf.KernelFunc = () => {
  throw new LlmkitError('kernel', 'native backend: this kernel has no fallback');
};

/**
 * A cpu kernel may return a view of an input's array. Storage here is written again after its
 * tensor is gone, so such an output gets a copy.
 */
function onOwnStorage(cpuKernel: tf.KernelFunc): tf.KernelFunc {
  return (params) => {
    const native = params.backend as NativeBackend;
    native.computedHere();
    const result = cpuKernel(params);
    // Optional inputs are missing, lists of inputs are arrays.
    const given = Object.values(params.inputs)
      .flat()
      .filter((x) => x != null);
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
