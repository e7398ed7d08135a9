import { LlmkitError } from '../../errors.js';
import * as tf from '../tfjs.js';
import { loadAddon } from './native.js';
import { registerReference } from './reference.js';
import { registerNative } from './register-native.js';

/** Backends by name, best first. */
const BACKEND_NAMES = ['native', 'reference', 'tensorflow'] as const;
export type BackendName = (typeof BACKEND_NAMES)[number];

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

/** Every backend, and whether it loads on this machine or why it does not. */
export async function listBackends(): Promise<
  readonly { name: BackendName; loads: boolean; detail: string }[]
> {
  return BACKEND_NAMES.map((name) => {
    try {
      return { name, loads: true, detail: describe(name) };
    } catch (error) {
      return { name, loads: false, detail: error instanceof Error ? error.message : String(error) };
    }
  });
}

/** Maps a file into memory, privately and copy-on-write; undefined where the addon does not load. */
export function mapFile(path: string): Uint8Array | undefined {
  try {
    loadAddon();
  } catch {
    return undefined;
  }
  return new Uint8Array(loadAddon().mapFile(path));
}

/** Gives back what `mapFile` mapped; the view is empty afterwards. Weights made of it stay valid. */
export function unmapFile(bytes: Uint8Array): void {
  loadAddon().unmapFile(bytes.buffer as ArrayBuffer);
}

function backendName(name: string): BackendName {
  const known = BACKEND_NAMES.find((known) => known === name);
  if (known !== undefined) return known;
  const names = BACKEND_NAMES.join(', ');
  throw new LlmkitError('usage', `backend: expected one of ${names}, got '${name}'`);
}

async function activate(name: BackendName, options: BackendOptions): Promise<BackendInUse> {
  describe(name);
  if (name === 'native' && options.threads !== undefined) loadAddon().setThreads(options.threads);
  if (tf.findBackendFactory(name) == null) register[name]();
  await tf.setBackend(name);
  return { name, description: describe(name) };
}

const register = {
  native: () => registerNative(loadAddon()),
  reference: registerReference,
  tensorflow: () => {},
} as const;

/** One line on a backend that loads; throws LlmkitError `unsupported` for one that does not. */
function describe(name: BackendName): string {
  if (name === 'tensorflow') {
    throw new LlmkitError('unsupported', 'tensorflow backend: not supported yet; use native');
  }
  if (name === 'reference') return 'reference (tfjs cpu, 1 thread)';
  const addon = loadAddon();
  return `native (${addon.isa()}, ${addon.threads()} threads)`;
}
