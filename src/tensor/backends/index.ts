import { LlmkitError } from '../../errors.js';
import type { Warpgroups } from '../compute.js';
import * as tf from '../tfjs.js';
import type { PackedUse, Weight } from '../weight.js';
import { cudaIsBuilt } from './cuda.js';
import { type Device, deviceChoice, driverIsThere, gpuIsThere } from './device-choice.js';
import { BACKEND_NAMES, BACKENDS, type BackendName, type EngineName } from './entries.js';

export type { BackendName, EngineName } from './entries.js';
export {
  addonLoads,
  hashRanges,
  mapFile,
  releasePages,
  threadsAtHand,
} from './native-services.js';
export { type BackendStatus, type CudaStatus, listBackends } from './status.js';

/** The backend in use. */
export interface BackendInUse {
  readonly name: BackendName;
  /** Where it computes. */
  readonly device: Device;
  /** Of the GPU that `native` computes on. */
  readonly warpgroups?: Warpgroups;
  /** For people: 'native (avx512, 2 threads)'. */
  readonly description: string;
  /** Why the best backend is not the one in use, when nobody asked for another; what it lacks. */
  readonly warning?: string;
}

/** Settings of a backend. */
export interface BackendOptions {
  /** Threads of kernels; without it LLMKIT_THREADS, else the processors this process may use. */
  readonly threads?: number | undefined;
  /** Where `native` computes; left out or auto: LLMKIT_DEVICE, else a GPU that can be used, else the CPU. */
  readonly device?: string | undefined;
}

/**
 * Chooses and readies the backend: name, else LLMKIT_BACKEND, else the best that loads.
 *
 * @throws LlmkitError `usage` for an unknown name or device, `unsupported` when the one asked for does not load
 */
export async function useBackend(
  name: string | undefined = process.env.LLMKIT_BACKEND || undefined,
  options: BackendOptions = {},
): Promise<BackendInUse> {
  const choice = deviceChoice(options.device);
  if (name !== undefined && backendName(name) !== 'native') {
    refuseDevice(name, options);
    return activate(backendName(name), options);
  }
  if (choice === 'cuda') return activate('cuda', options);
  const gpu = choice === 'auto' ? await gpuIfUsable(options) : {};
  if (gpu.inUse !== undefined) return gpu.inUse;
  const native =
    name === undefined ? await nativeOrReference(options) : await activate('native', options);
  const warning = native.warning ?? gpu.warning;
  return { ...native, ...(warning !== undefined && { warning }) };
}

/** The other backends have no device to choose. */
function refuseDevice(name: string, { device }: BackendOptions): void {
  if (device !== 'cuda') return;
  throw new LlmkitError(
    'usage',
    `device: cuda is a device of the native backend; leave out --backend ${name} or --device cuda`,
  );
}

/** `native` on a GPU; a warning where there is one that cannot be used. Without a driver nothing is loaded. */
async function gpuIfUsable(
  options: BackendOptions,
): Promise<{ inUse?: BackendInUse; warning?: string }> {
  if (!driverIsThere() || !(cudaIsBuilt() || gpuIsThere())) return {};
  try {
    return { inUse: await activate('cuda', options) };
  } catch (error) {
    if (!(error instanceof LlmkitError) || error.code !== 'unsupported') throw error;
    return gpuIsThere() ? { warning: `${error.message}; the CPU is used` } : {};
  }
}

async function nativeOrReference(options: BackendOptions): Promise<BackendInUse> {
  try {
    return await activate('native', options);
  } catch (error) {
    if (!(error instanceof LlmkitError) || error.code !== 'unsupported') throw error;
    const reference = await activate('reference', options);
    return { ...reference, warning: `${error.message}; the slow reference backend is used` };
  }
}

/**
 * Has the backend in use pack a weight now, at load, rather than at its first product.
 *
 * @returns what the stored bytes are no longer needed for; undefined where it did not
 */
export async function packWeight(weight: Weight): Promise<PackedUse | undefined> {
  if (weight.compute === 'f32') return undefined;
  return BACKENDS[backendInUse()].pack?.(weight);
}

/** The backend that `useBackend` made ready; `cuda` is `native` on a GPU. */
export function backendInUse(): EngineName {
  return tf.getBackend() as EngineName;
}

/** Where the backend in use computes. */
export function deviceInUse(): Device {
  return backendInUse() === 'cuda' ? 'cuda' : 'cpu';
}

function backendName(name: string): BackendName {
  const found = BACKEND_NAMES.find((known) => known === name);
  if (found !== undefined) return found;
  const names = BACKEND_NAMES.join(', ');
  throw new LlmkitError('usage', `backend: expected one of ${names}, got '${name}'`);
}

async function activate(engine: EngineName, { threads }: BackendOptions): Promise<BackendInUse> {
  const { describe, facts, register, setThreads, warning } = BACKENDS[engine];
  if (threads !== undefined) setThreads?.(threads);
  const description = describe();
  if (tf.findBackendFactory(engine) == null) register();
  await tf.setBackend(engine);
  const lacks = warning?.();
  const { type, gpu } = facts().device;
  return {
    name: engine === 'cuda' ? 'native' : engine,
    device: type === 'gpu' ? 'cuda' : 'cpu',
    ...(gpu !== undefined && { warpgroups: gpu.warpgroups }),
    description,
    ...(lacks !== undefined && { warning: lacks }),
  };
}
