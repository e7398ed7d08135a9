import { LlmkitError } from '../../errors.js';
import type { Compute } from '../compute.js';
import * as tf from '../tfjs.js';
import type { Weight } from '../weight.js';
import { loadAddon } from './native.js';
import { NativeBackend } from './native-backend.js';
import { registerReference } from './reference.js';
import { registerNative } from './register-native.js';
import { describeTensorflow, registerTensorflow } from './tensorflow.js';

export type BackendName = 'native' | 'reference' | 'tensorflow';

/** The backend in use. */
export interface BackendInUse {
  readonly name: BackendName;
  /** For people: 'native (avx512, 2 threads)'. */
  readonly description: string;
  /** Why the best backend is not the one in use, when nobody asked for another. */
  readonly warning?: string;
}

/** Settings of a backend. */
export interface BackendOptions {
  /** Threads of `native`; without it LLMKIT_THREADS, else the processors this process may use. */
  readonly threads?: number;
}

/**
 * Chooses and readies the backend: name, else LLMKIT_BACKEND, else the best that loads.
 *
 * @throws LlmkitError `usage` for an unknown name, `unsupported` when the one asked for does not load
 */
export async function useBackend(
  name: string | undefined = process.env.LLMKIT_BACKEND || undefined,
  options: BackendOptions = {},
): Promise<BackendInUse> {
  if (name !== undefined) return activate(backendName(name), options);
  try {
    return await activate('native', options);
  } catch (error) {
    if (!(error instanceof LlmkitError) || error.code !== 'unsupported') throw error;
    const reference = await activate('reference', options);
    return { ...reference, warning: `${error.message}; the slow reference backend is used` };
  }
}

/** A backend on this machine. */
export interface BackendStatus {
  readonly name: BackendName;
  readonly loads: boolean;
  /** What it computes with, or why it does not load. */
  readonly detail: string;
  /** The instruction set of each compute type's kernels; a backend without kernels composes them. */
  readonly compute?: Readonly<Record<Compute, string>>;
}

/** Whether each backend loads on this machine or why it does not; every one unless named. */
export async function listBackends(
  names = Object.keys(BACKENDS) as readonly BackendName[],
): Promise<readonly BackendStatus[]> {
  return names.map((name) => {
    const { describe, compute } = BACKENDS[name];
    try {
      return { name, loads: true, detail: describe(), ...(compute && { compute: compute() }) };
    } catch (error) {
      throwUsage(error);
      return { name, loads: false, detail: error instanceof Error ? error.message : String(error) };
    }
  });
}

/**
 * Maps a file into memory, privately and copy-on-write, until nothing refers to the bytes any more.
 *
 * @returns undefined where the addon does not load
 */
export function mapFile(path: string): Uint8Array | undefined {
  try {
    loadAddon();
  } catch (error) {
    throwUsage(error);
    return undefined;
  }
  return new Uint8Array(loadAddon().mapFile(path));
}

/**
 * Has the backend in use pack a weight now, at load, rather than at its first product.
 *
 * @returns whether it did: products need the stored bytes no longer
 */
export function packWeight(weight: Weight): boolean {
  const backend = tf.backend();
  if (weight.compute === 'f32' || !(backend instanceof NativeBackend)) return false;
  backend.weight(weight);
  return true;
}

/** Lets go of the memory behind bytes of a mapped file until they are read again. */
export function releasePages(bytes: Uint8Array): void {
  loadAddon().releasePages(bytes);
}

/** The backend that `useBackend` made ready. */
export function backendInUse(): BackendName {
  return tf.getBackend() as BackendName;
}

/** A mistake of the user's is no reason to do without the addon. */
function throwUsage(error: unknown): void {
  if (error instanceof LlmkitError && error.code === 'usage') throw error;
}

/** How a backend is made ready; both functions throw LlmkitError `unsupported` when it does not load. */
interface BackendEntry {
  /** One line for people. */
  readonly describe: () => string;
  readonly compute?: () => Readonly<Record<Compute, string>>;
  /** Makes it known to tfjs. */
  readonly register: () => void;
}

/** Every backend, best first. */
const BACKENDS: Readonly<Record<BackendName, BackendEntry>> = {
  native: {
    describe: () => {
      const addon = loadAddon();
      const threads = addon.threads();
      return `native (${addon.isa()}, ${threads} thread${threads === 1 ? '' : 's'})`;
    },
    compute: () => loadAddon().computeIsas(),
    register: () => registerNative(loadAddon()),
  },
  reference: { describe: () => 'reference (tfjs cpu, 1 thread)', register: registerReference },
  tensorflow: {
    describe: () => {
      const { tensorflowVersion, device } = describeTensorflow();
      return `tensorflow (TensorFlow ${tensorflowVersion}, ${device})`;
    },
    register: registerTensorflow,
  },
};

function backendName(name: string): BackendName {
  if (Object.hasOwn(BACKENDS, name)) return name as BackendName;
  const names = Object.keys(BACKENDS).join(', ');
  throw new LlmkitError('usage', `backend: expected one of ${names}, got '${name}'`);
}

async function activate(name: BackendName, { threads }: BackendOptions): Promise<BackendInUse> {
  const { describe, register } = BACKENDS[name];
  describe();
  if (name === 'native' && threads !== undefined) loadAddon().setThreads(threads);
  if (tf.findBackendFactory(name) == null) register();
  await tf.setBackend(name);
  return { name, description: describe() };
}
