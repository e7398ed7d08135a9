import { LlmkitError } from '../../errors.js';
import type { Compute } from '../compute.js';
import { fusedGradients } from '../ops/index.js';
import * as tf from '../tfjs.js';
import type { PackedUse, Weight } from '../weight.js';
import { type FoundPackage, findPackages } from './tensorflow/find-package.js';
import { type LoadedPackage, loadPackage } from './tensorflow/load-package.js';
import { owningBackend } from './tensorflow/node-backend.js';
import { hostKernels, opKernels } from './tensorflow/op-kernels.js';
import {
  loadOpLibrary,
  type OpLibrary,
  type TensorflowDevice,
  type TensorflowInUse,
} from './tensorflow/op-library.js';
import { OpRunner } from './tensorflow/op-runner.js';

/** TensorFlow as it is found on this machine. */
export interface TensorflowDescription {
  /** '@tensorflow/tfjs-node' or '@tensorflow/tfjs-node-gpu', and where it lies. */
  readonly packageName: string;
  readonly folder: string;
  readonly packageVersion: string;
  readonly tensorflowVersion: string;
  /** What its tensors are on. */
  readonly device: TensorflowDevice;
  /** Whether the GPU is emulated on the host. */
  readonly emulated: boolean;
  /** llmkit's ops that have a kernel for the device. */
  readonly ops: readonly string[];
  /** Why there are none, and how to mend it. */
  readonly opsMissing?: string;
  /** The instruction set of each compute type's kernels, where there are ops. */
  readonly compute?: Readonly<Partial<Record<Compute, string>>>;
  /** The best instruction set of the ops' kernels. */
  readonly isa?: string;
  /** Threads of the ops. */
  readonly threads?: number;
}

const MEND = 'install it with `llmkit backend install tensorflow`';
/** For the life of the process: TensorFlow cannot be unloaded. */
let loaded: { readonly tensorflow: LoadedPackage; readonly library: OpLibrary } | undefined;
/** Packs weights for the ops on a CPU, once the backend is in use and has some. */
let packer: OpRunner | undefined;

/**
 * The TensorFlow that the backend computes with.
 *
 * @throws LlmkitError `unsupported` when there is none or none loads, saying why and how to mend it
 */
export function describeTensorflow(): TensorflowDescription {
  const { tensorflow, library } = loadTensorflow();
  const { name, folder, version, binding } = tensorflow;
  return {
    packageName: name,
    folder,
    packageVersion: version,
    tensorflowVersion: binding.TF_Version,
    device: deviceOf(tensorflow, library),
    emulated: 'addon' in library && library.addon.emulatesGpu(),
    ops: library.ops,
    ...('why' in library
      ? {
          opsMissing: `tensorflow backend: without llmkit's ops, slower: ${library.why}; ${MEND}`,
        }
      : {
          ...(library.lacks !== undefined && {
            opsMissing: `tensorflow backend: ${library.lacks}; compositions take their place`,
          }),
          compute: library.addon.computeIsas(),
          isa: library.addon.isa(),
          threads: library.addon.threads(),
        }),
  };
}

/**
 * Threads of TensorFlow's ops, which it reads when it is loaded, and of llmkit's. One op runs at a time, so
 * that both may have all processors.
 */
export function setTensorflowThreads(count: number): void {
  process.env.TF_NUM_INTRAOP_THREADS = String(count);
  const { library } = loadTensorflow();
  if ('addon' in library) library.addon.setThreads(count);
}

/** Makes the `tensorflow` backend known to tfjs, with llmkit's ops where they load. */
export function registerTensorflow(): void {
  const { tensorflow, library } = loadTensorflow();
  const { name, binding, Backend } = tensorflow;
  const backend = owningBackend(Backend, binding, name);
  tf.registerBackend('tensorflow', () => backend);
  if (!('addon' in library)) return;
  const ops = new OpRunner(backend, library.addon, library.device);
  registerOps(ops, library.ops);
  if (library.device === 'cpu') packer = ops;
}

/** @param names of the ops that the device has; others are computed by compositions */
function registerOps(ops: OpRunner, names: readonly string[]): void {
  for (const [kernelName, kernel] of Object.entries({ ...opKernels, ...hostKernels })) {
    if (kernelName in opKernels && !names.includes(kernelName)) continue;
    const kernelFunc: tf.KernelFunc = ({ inputs, attrs }) =>
      kernel(ops, inputs as tf.NamedTensorInfoMap, attrs as object);
    tf.registerKernel({ kernelName, backendName: 'tensorflow', kernelFunc });
  }
  fusedGradients.forEach(tf.registerGradient);
}

/** Packs a weight for the ops; false where there are none, or a GPU's, which need the stored bytes. */
export function packForTensorflow(weight: Weight): PackedUse | undefined {
  packer?.weight({ weight });
  return packer && 'products';
}

function loadTensorflow() {
  if (loaded === undefined) {
    const tensorflow = firstThatLoads(findPackages());
    const library = loadOpLibrary(Object.keys(opKernels), inUse(tensorflow));
    loaded = { tensorflow, library };
  }
  return loaded;
}

/** Kernels on the emulated GPU are not where TensorFlow's own are. */
function deviceOf(tensorflow: LoadedPackage, library: OpLibrary): TensorflowDevice {
  return 'device' in library ? library.device : inUse(tensorflow).device;
}

function inUse({ binding }: LoadedPackage): TensorflowInUse {
  return { device: binding.isUsingGpuDevice() ? 'gpu' : 'cpu', version: binding.TF_Version };
}

function firstThatLoads(packages: readonly FoundPackage[]): LoadedPackage {
  const problems: string[] = [];
  for (const found of packages) {
    try {
      return loadPackage(found);
    } catch (error) {
      if (!(error instanceof LlmkitError)) throw error;
      problems.push(error.message);
    }
  }
  const why = problems.length > 0 ? problems.join('; ') : '@tensorflow/tfjs-node is not installed';
  throw new LlmkitError('unsupported', `tensorflow backend: ${why}; ${MEND}`);
}
