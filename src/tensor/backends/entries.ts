import { version_cpu } from '@tensorflow/tfjs-backend-cpu';
import type { Compute } from '../compute.js';
import * as tf from '../tfjs.js';
import type { PackedUse, Weight } from '../weight.js';
import type { DeviceInfo } from './addon-device.js';
import { loadCuda } from './cuda.js';
import type { CudaBackend } from './cuda-backend.js';
import { loadAddon } from './native.js';
import type { NativeBackend } from './native-backend.js';
import { registerReference } from './reference.js';
import { registerCuda } from './register-cuda.js';
import { registerNative } from './register-native.js';
import {
  describeTensorflow,
  packForTensorflow,
  registerTensorflow,
  setTensorflowThreads,
} from './tensorflow.js';

export type BackendName = 'native' | 'reference' | 'tensorflow';

/** What tfjs knows the backends by: on a GPU, `native` is `cuda`. */
export type EngineName = BackendName | 'cuda';

/** What a backend that loads computes with. */
export interface BackendFacts {
  /** Of the libraries that are not llmkit's. */
  readonly versions: Readonly<Record<string, string>>;
  /** A cpu's instruction set and threads where llmkit chooses them; what a GPU is where llmkit has kernels for it. */
  readonly device: {
    readonly type: 'cpu' | 'gpu';
    readonly isa?: string;
    readonly threads?: number;
    readonly gpu?: DeviceInfo;
  };
  /** The instruction set of each compute type's kernels; a backend without kernels composes them. */
  readonly compute?: Readonly<Partial<Record<Compute, string>>>;
  /** Where it was found, when it is no part of llmkit. */
  readonly folder?: string;
}

/** How a backend is made ready; all functions throw LlmkitError `unsupported` when it does not load. */
export interface BackendEntry {
  /** One line for people. */
  readonly describe: () => string;
  readonly facts: () => BackendFacts;
  /** What it lacks, for people. */
  readonly warning?: () => string | undefined;
  /** Takes effect where it is called before the other functions. */
  readonly setThreads?: (count: number) => void;
  /** Makes it known to tfjs. */
  readonly register: () => void;
  /** Packs a weight, beside JavaScript where it can; undefined where the backend has no form of its own. */
  readonly pack?: (weight: Weight) => PackedUse | undefined | Promise<PackedUse>;
}

/** Every backend, best first, and `native` on a GPU. */
export const BACKENDS: Readonly<Record<EngineName, BackendEntry>> = {
  native: {
    describe: () => {
      const addon = loadAddon();
      const threads = addon.threads();
      return `native (${addon.isa()}, ${threads} thread${threads === 1 ? '' : 's'})`;
    },
    facts: () => {
      const addon = loadAddon();
      const device = { type: 'cpu', isa: addon.isa(), threads: addon.threads() } as const;
      return { versions: {}, device, compute: addon.computeIsas() };
    },
    setThreads: (count) => loadAddon().setThreads(count),
    register: () => registerNative(loadAddon()),
    pack: (weight) => (tf.backend() as NativeBackend).pack(weight),
  },
  reference: {
    describe: () => 'reference (tfjs cpu, 1 thread)',
    facts: () => ({
      versions: { '@tensorflow/tfjs-backend-cpu': version_cpu },
      device: { type: 'cpu', threads: 1 },
    }),
    register: registerReference,
  },
  tensorflow: {
    describe: () => {
      const { tensorflowVersion, device, emulated } = describeTensorflow();
      const where = emulated ? `${device} emulated on the host` : device;
      return `tensorflow (TensorFlow ${tensorflowVersion}, ${where})`;
    },
    facts: () => {
      const found = describeTensorflow();
      const { packageName, packageVersion, tensorflowVersion: tensorflow, folder } = found;
      const { compute, isa, threads } = found;
      return {
        versions: { tensorflow, [packageName]: packageVersion },
        device: { type: found.device, ...(isa && { isa }), ...(threads && { threads }) },
        folder,
        ...(compute && { compute }),
      };
    },
    warning: () => describeTensorflow().opsMissing,
    setThreads: setTensorflowThreads,
    register: registerTensorflow,
    pack: packForTensorflow,
  },
  cuda: {
    describe: () => {
      const { device } = loadCuda();
      return `native (cuda, ${device.name})`;
    },
    facts: () => {
      const { device } = loadCuda();
      const { driverCuda: driver, runtime } = device;
      return {
        versions: { 'CUDA driver': driver, 'CUDA runtime': runtime },
        device: { type: 'gpu', gpu: device },
      };
    },
    register: () => registerCuda(loadCuda().addon),
    pack: (weight) => {
      (tf.backend() as CudaBackend).weight(weight);
      return 'products';
    },
  },
};

/** The names that `--backend` may say. */
export const BACKEND_NAMES: readonly BackendName[] = ['native', 'reference', 'tensorflow'];
