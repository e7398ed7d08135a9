import type { Compute, Warpgroups } from '../compute.ts';
import type { WeightData, WeightFormat } from '../weight.ts';
import type { AddonKernels, RoundingMethod, SquareSums, WeightHandle } from './addon.ts';
import type { AddonSteps } from './addon-steps.ts';
import type { DeviceFloats, DeviceInts } from './arrays.ts';

/** A GPU that the driver shows, whether llmkit can compute on it or not. */
export interface ShownDevice {
  readonly name: string;
  readonly memoryBytes: number;
  readonly computeCapability: string;
}

/** The GPU that an addon computes on. */
export interface DeviceInfo {
  /** 'NVIDIA H200' */
  readonly name: string;
  readonly memoryBytes: number;
  /** What nobody uses at the moment. */
  readonly freeBytes: number;
  /** '9.0' */
  readonly computeCapability: string;
  readonly multiprocessors: number;
  /** The newest CUDA that the driver knows: '13.0'. */
  readonly driverCuda: string;
  /** The CUDA that the addon was built with. */
  readonly runtime: string;
  /** The oldest driver that runs it: '580'. */
  readonly leastDriver: string;
  /** What products of warpgroups are on it, found out when it is opened. */
  readonly warpgroups: Warpgroups;
  /** All GPUs; the first is this one. */
  readonly shown: readonly ShownDevice[];
  /** Whether it is the host, which runs the same kernels one thread after the other. */
  readonly emulated: boolean;
}

/** Bytes of arrays and weights on the device. */
export interface DeviceMemory {
  readonly inUseBytes: number;
  /** Kept to be used again. */
  readonly freeBytes: number;
  /** The most that were in use. */
  readonly peakBytes: number;
  /** What they may still take: what is kept, and what nobody uses, up to the limit. */
  readonly usableBytes: number;
}

/**
 * Functions for the device and its arrays, of the GPU's addon (kernels/cuda/binding). Kernels and copies to
 * the device are queued on one stream: only reads and `synchronize` wait. What the GPU refuses is an Error
 * with a `code`: LLMKIT_CUDA_UNUSABLE (there is none that can be used), LLMKIT_CUDA_MEMORY, LLMKIT_CUDA.
 * An array that JavaScript loses is freed with it; `release` does so at once.
 */
export interface AddonDevice {
  /** Opens the GPU where it is not open yet. */
  deviceInfo(): DeviceInfo;
  deviceMemory(): DeviceMemory;
  /** Arrays, weights and caches take no more than this from now on, all together. */
  limitDeviceMemory(bytes: number): void;
  /**
   * Called before memory that is not there is an error, but in a capture: whether something was let go of. Takes the
   * place of the function before it.
   */
  whenMemoryIsShort(release: () => boolean): void;
  /** Waits for all that is queued. */
  synchronize(): void;

  /** An array of any content. */
  allocate(length: number, type: 'float32'): DeviceFloats;
  allocate(length: number, type: 'int32'): DeviceInts;
  /**
   * float32 values that are held as bf16: rounded when they are written, which only functions do that say so, and
   * float32 again for all that read them.
   */
  allocate(length: number, type: 'bfloat16'): DeviceFloats;
  /** Using the array afterwards throws RangeError. What is queued may still use it. */
  release(array: DeviceFloats | DeviceInts): void;
  /**
   * Moves the array's home to pinned memory of the host. It visits the device when it is used, with those used last,
   * and those that followed it the last time are copied ahead: as many as take no more than the largest.
   */
  keepArrayOnHost(array: DeviceFloats | DeviceInts): void;
  /** The next call that uses the array changes it: the home of one that visits is to have the new values. */
  changeArray(array: DeviceFloats | DeviceInts): void;
  /** Bytes of those arrays, of device memory for their visits, and of those that came ahead of their use. */
  hostArrays(): {
    readonly hostBytes: number;
    readonly deviceBytes: number;
    readonly aheadBytes: number;
  };
  /** A copy of the values, which may change as soon as this returns. */
  upload(values: Float32Array): DeviceFloats;
  upload(values: Int32Array): DeviceInts;
  readSync(array: DeviceFloats): Float32Array;
  readSync(array: DeviceInts): Int32Array;
  /** The values as they are once everything queued so far is done; JavaScript goes on meanwhile. */
  read(array: DeviceFloats): Promise<Float32Array>;
  read(array: DeviceInts): Promise<Int32Array>;
  /** y = x, of one length and type. */
  copy(x: DeviceFloats, y: DeviceFloats): void;
  copy(x: DeviceInts, y: DeviceInts): void;

  /** Bytes of a weight on the device, or a little more where its scales turn out to be short. groupSize 0: none. */
  weightBytes(
    format: WeightFormat,
    rows: number,
    cols: number,
    groupSize: number,
    hasZeros: boolean,
    compute: Compute,
  ): number;
  /**
   * Moves a weight into pinned memory of the host. Whenever it is used it visits the device with all of its group,
   * ahead of its use where the groups follow each other as they did before, or else in ascending order.
   */
  keepOnHost(weight: WeightHandle, group: number): void;
  /** Bytes of those weights, and of device memory for their visits. */
  hostWeights(): { readonly hostBytes: number; readonly deviceBytes: number };

  /** Sets all values to one number. */
  fill(y: DeviceFloats, value: number): void;

  /**
   * chosen [rows] = the tokens that `sample` of the CPU chooses of logits [rows, V], -1 where there is none. The ids
   * that the penalty lowers are pairs: seenIds[i] in row seenRows[i] (null: none); outside throws RangeError.
   */
  sampleRows(
    logits: DeviceFloats,
    seenRows: Int32Array | null,
    seenIds: Int32Array | null,
    penalty: number,
    temperature: number,
    topK: number,
    topP: number,
    uniforms: Float64Array,
    chosen: DeviceInts,
  ): void;

  /**
   * `quantize` of the CPU's addon for a matrix of the host, which goes through the GPU in pieces: the same bytes and
   * the same sums as its vector kernels give.
   */
  quantize(
    values: WeightData,
    quantized: WeightData,
    scaleType: 'f32' | 'bf16' | 'f16',
    method: RoundingMethod,
  ): Promise<SquareSums | null>;
}

/** All functions of the GPU's addon. */
export interface DeviceAddon
  extends AddonKernels<DeviceFloats, DeviceInts>,
    AddonDevice,
    AddonSteps {}
