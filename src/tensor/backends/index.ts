import { LlmkitError } from '../../errors.js';
import * as tf from '../tfjs.js';
import type { Weight } from '../weight.js';
import { BACKENDS, type BackendName } from './entries.js';
import { loadAddon } from './native.js';

export type { BackendName } from './entries.js';
export { type BackendStatus, listBackends } from './status.js';

/** The backend in use. */
export interface BackendInUse {
  readonly name: BackendName;
  /** For people: 'native (avx512, 2 threads)'. */
  readonly description: string;
  /** Why the best backend is not the one in use, when nobody asked for another; what it lacks. */
  readonly warning?: string;
}

/** Settings of a backend. */
export interface BackendOptions {
  /** Threads of kernels; without it LLMKIT_THREADS, else the processors this process may use. */
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

/**
 * Maps a file, or what it has of a range, into memory, privately and copy-on-write, until nothing refers to the bytes
 * any more.
 *
 * @returns undefined where the addon does not load
 */
export function mapFile(
  path: string,
  ...range: [] | [offset: number, sizeBytes: number]
): Uint8Array | undefined {
  return addonLoads() ? new Uint8Array(loadAddon().mapFile(path, ...range)) : undefined;
}

/** Whether the native addon loads, which serves files and quantization whatever backend computes. */
export function addonLoads(): boolean {
  try {
    loadAddon();
    return true;
  } catch (error) {
    throwUsage(error);
    return false;
  }
}

/**
 * Has the backend in use pack a weight now, at load, rather than at its first product.
 *
 * @returns whether it did: products need the stored bytes no longer
 */
export function packWeight(weight: Weight): boolean {
  if (weight.compute === 'f32') return false;
  return BACKENDS[backendInUse()].pack?.(weight) ?? false;
}

/** Threads that a computation has: the addon's, or JavaScript's one. */
export function threadsAtHand(): number {
  try {
    return loadAddon().threads();
  } catch (error) {
    throwUsage(error);
    return 1;
  }
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

function backendName(name: string): BackendName {
  if (Object.hasOwn(BACKENDS, name)) return name as BackendName;
  const names = Object.keys(BACKENDS).join(', ');
  throw new LlmkitError('usage', `backend: expected one of ${names}, got '${name}'`);
}

async function activate(name: BackendName, { threads }: BackendOptions): Promise<BackendInUse> {
  const { describe, register, setThreads, warning } = BACKENDS[name];
  if (threads !== undefined) setThreads?.(threads);
  const description = describe();
  if (tf.findBackendFactory(name) == null) register();
  await tf.setBackend(name);
  const lacks = warning?.();
  return { name, description, ...(lacks !== undefined && { warning: lacks }) };
}
