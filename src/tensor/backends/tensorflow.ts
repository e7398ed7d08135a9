import { LlmkitError } from '../../errors.js';
import * as tf from '../tfjs.js';
import { type FoundPackage, findPackages } from './tensorflow/find-package.js';
import { type LoadedPackage, loadPackage } from './tensorflow/load-package.js';
import { owningBackend } from './tensorflow/node-backend.js';

/** TensorFlow as it is found on this machine. */
export interface TensorflowDescription {
  /** '@tensorflow/tfjs-node' or '@tensorflow/tfjs-node-gpu', and where it lies. */
  readonly packageName: string;
  readonly folder: string;
  readonly packageVersion: string;
  readonly tensorflowVersion: string;
  /** What its tensors are on. */
  readonly device: 'cpu' | 'gpu';
}

const MEND = 'install it with `llmkit backend install tensorflow`';
/** For the life of the process: TensorFlow cannot be unloaded. */
let loaded: LoadedPackage | undefined;

/**
 * The TensorFlow that the backend computes with.
 *
 * @throws LlmkitError `unsupported` when there is none or none loads, saying why and how to mend it
 */
export function describeTensorflow(): TensorflowDescription {
  const { name, folder, version, binding } = tensorflowPackage();
  return {
    packageName: name,
    folder,
    packageVersion: version,
    tensorflowVersion: binding.TF_Version,
    device: binding.isUsingGpuDevice() ? 'gpu' : 'cpu',
  };
}

/** Makes the `tensorflow` backend known to tfjs. */
export function registerTensorflow(): void {
  const { name, binding, Backend } = tensorflowPackage();
  tf.registerBackend('tensorflow', () => owningBackend(Backend, binding, name));
}

/** The first package that loads. */
function tensorflowPackage(): LoadedPackage {
  loaded ??= firstThatLoads(findPackages());
  return loaded;
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
