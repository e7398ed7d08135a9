import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Compute } from '../../compute.js';
import type { Weight, WeightData } from '../../weight.js';
import type { Addon, KvCacheHandle, WeightHandle } from '../addon.js';
import { checkEnvironment } from '../environment.js';
import { damageOf, managedPaths, readInstallRecord } from '../managed.js';
import type { KvAddon } from '../native-kv-store.js';

/**
 * llmkit_tensorflow.node: the kernels of the native addon as ops of TensorFlow (kernels/tensorflow), and the
 * frozen weights that they read.
 */
export interface OpAddon
  extends Pick<
      Addon,
      'isa' | 'computeIsas' | 'threads' | 'setThreads' | 'createWeight' | 'disposeWeight' | 'sample'
    >,
    KvAddon {
  /** Registers the ops with TensorFlow, once per process. @returns their names */
  registerOps(): readonly string[];
  /** Registers the kernels for TensorFlow's GPU device. @returns the ops that have one; none without its headers or nvcc */
  registerGpuKernels(): readonly string[];
  /** Whether those run on the device that is emulated on the host, in the place of TensorFlow's CPU. */
  emulatesGpu(): boolean;
  /**
   * The number that ops know a weight by: it is theirs as long as the handle lives. With bf16 a GPU multiplies by the
   * stored bytes in bf16; the CPU does by what is packed.
   */
  nameWeight(weight: WeightHandle, bf16: boolean): number;
  forgetWeight(number: number): void;
  /** The same of keys and values. */
  nameCache(cache: KvCacheHandle): number;
  forgetCache(number: number): void;
  /** Row indices[i] becomes row i. @returns what cacheBytes does */
  selectCache(number: number, indices: Int32Array): number;
  /** Bytes of its pages, wherever they are. */
  cacheBytes(number: number): number;
}

/** What TensorFlow's tensors are on. */
export type TensorflowDevice = 'cpu' | 'gpu';

/** A TensorFlow that is loaded. */
export interface TensorflowInUse {
  readonly device: TensorflowDevice;
  /** Its own version: '2.21.0'. */
  readonly version: string;
}

/** The ops that have a kernel for the device, or why there are none. */
export type OpLibrary =
  | {
      readonly ops: readonly string[];
      readonly addon: OpAddon;
      readonly path: string;
      readonly device: TensorflowDevice;
      /** Which are computed by compositions, and why, where some have no kernel. */
      readonly lacks?: string;
    }
  | { readonly ops: readonly []; readonly why: string };

/**
 * Loads the library that `llmkit backend install tensorflow` has built, or for development the one that
 * LLMKIT_TENSORFLOW_OPS names, and registers its ops. Needs TensorFlow to be in the process already: it is linked
 * with whichever that is.
 *
 * @param wanted the ops that it must have: one of another version may lack some
 * @param inUse the TensorFlow that is in the process
 */
export function loadOpLibrary(wanted: readonly string[], inUse: TensorflowInUse): OpLibrary {
  checkEnvironment();
  const path = process.env.LLMKIT_TENSORFLOW_OPS || managedPaths().opLibrary;
  if (!existsSync(path)) return { ops: [], why: `${path} is not built` };
  const damage = damageOf(managedPaths(), path);
  if (damage !== undefined) return { ops: [], why: damage };
  try {
    const addon = createRequire(import.meta.url)(path) as OpAddon;
    const ops = addon.registerOps();
    const missing = [
      ...wanted.filter((name) => !ops.includes(name)),
      ...Object.keys(ADDON_FUNCTIONS).filter((name) => !(name in addon)),
    ];
    if (missing.length === 0) return ofDevice({ ops, addon, path }, inUse);
    return { ops: [], why: `${path} is of another version, without ${missing.join(', ')}` };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { ops: [], why: `${path} does not load: ${why}` };
  }
}

/** The ops that have kernels for the device. */
function ofDevice(
  library: { ops: readonly string[]; addon: OpAddon; path: string },
  { device, version }: TensorflowInUse,
): OpLibrary {
  if (device === 'cpu' && !library.addon.emulatesGpu()) return { ...library, device };
  // Those are C++ of one version; the others fit every one.
  const builtFor = readInstallRecord(managedPaths())?.tensorflow_version ?? version;
  if (builtFor !== version) {
    const why = `their kernels for its GPU device are built for TensorFlow ${builtFor}, got ${version}`;
    return { ops: [], why };
  }
  const ops = library.addon.registerGpuKernels();
  if (ops.length === 0) {
    const why = 'they were built without kernels for its GPU device, which needs nvcc';
    return { ops: [], why };
  }
  const others = library.ops.filter((name) => !ops.includes(name));
  const lacks = others.length === 0 ? {} : { lacks: `no GPU kernels of ${others.join(', ')}` };
  return { ...library, ops, device: 'gpu', ...lacks };
}

/** What a library built from this version has; complete by its type. */
const ADDON_FUNCTIONS: Readonly<Record<keyof OpAddon, true>> = {
  cacheBytes: true,
  computeIsas: true,
  createKvCache: true,
  createWeight: true,
  disposeKvCache: true,
  disposeWeight: true,
  emulatesGpu: true,
  forgetCache: true,
  forgetWeight: true,
  isa: true,
  nameCache: true,
  nameWeight: true,
  registerGpuKernels: true,
  registerOps: true,
  sample: true,
  selectCache: true,
  selectKvRows: true,
  setThreads: true,
  threads: true,
};

/** A frozen weight as the ops know it. */
interface NamedWeight {
  readonly handle: WeightHandle;
  readonly number: number;
}

/** Gives weights their numbers, for as long as somebody holds them. */
export class WeightNumbers {
  readonly #create: (data: WeightData, compute: Compute) => NamedWeight;
  readonly #release: (named: NamedWeight) => void;

  constructor(addon: OpAddon, device: TensorflowDevice) {
    const forget = new FinalizationRegistry((number: number) => addon.forgetWeight(number));
    this.#create = (data, compute) => {
      // What is packed for the CPU's kernels is nothing to a GPU.
      const onGpu = device === 'gpu';
      const handle = addon.createWeight(data, onGpu ? 'f32' : compute);
      const named = { handle, number: addon.nameWeight(handle, onGpu && compute !== 'f32') };
      forget.register(named, named.number, named);
      return named;
    };
    this.#release = (named) => {
      forget.unregister(named);
      addon.forgetWeight(named.number);
      addon.disposeWeight(named.handle);
    };
  }

  /** The number of a weight, which is packed with the first call. */
  of(weight: Weight): number {
    return weight.handle(this.#create, this.#release).number;
  }
}
