import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import type { Compute } from '../compute.js';
import type { Held, HoldingBackend } from '../ops/held.js';
import type { UpdatingBackend } from '../ops/linear-layer.js';
import * as tf from '../tfjs.js';
import type { Weight, WeightData } from '../weight.js';
import type { WeightHandle } from './addon.js';
import type { DeviceAddon } from './addon-device.js';
import type { DeviceFloats, DeviceInts } from './arrays.js';
import { CudaData } from './cuda-data.js';
import type { Assembly, BlockMove, KernelDevice } from './kernel-device.js';

type TensorData = ReturnType<MathBackendCPU['data']['get']>;

/** Holds memory of the device that can be done without. */
export interface Spare {
  /** Frees what has not been used for the longest time. @returns whether there was anything */
  dropOldest(): boolean;
}

/**
 * The tfjs backend whose tensors are on a GPU and whose kernels are those of its addon. It extends the cpu
 * backend, because every kernel that the addon lacks is the cpu's: it reads the inputs to the host, and what
 * it makes goes to the GPU when a kernel there wants it. int32 and bool tensors are mostly on the host, which
 * makes and checks them.
 */
export class CudaBackend
  extends MathBackendCPU
  implements KernelDevice<DeviceFloats, DeviceInts>, HoldingBackend, UpdatingBackend
{
  readonly holdsBf16 = true;
  readonly addsUpdates = true;
  readonly addon: DeviceAddon;
  /** Asked to let go of something before memory that is not there is an error. */
  readonly spares = new Set<Spare>();
  readonly #storage: CudaStorage;
  readonly #constants = new WeakMap<readonly number[], DeviceFloats>();
  readonly #createWeight: (data: WeightData, compute: Compute) => WeightHandle;
  readonly #disposeWeight: (handle: WeightHandle) => void;

  constructor(addon: DeviceAddon) {
    super();
    this.addon = addon;
    this.#storage = new CudaStorage(this);
    this.data = this.#storage;
    this.#createWeight = (data, compute) => addon.createWeight(data, compute);
    this.#disposeWeight = (handle) => addon.disposeWeight(handle);
    addon.whenMemoryIsShort(() => [...this.spares].some((spare) => spare.dropOldest()));
  }

  output(
    shape: number[],
    length: number,
    held?: Held,
  ): { info: tf.TensorInfo; values: DeviceFloats } {
    if (held !== undefined) {
      const values = this.addon.allocate(length, 'bfloat16');
      return { info: this.#info(shape, CudaData.held(this.addon, values)), values };
    }
    const values = this.addon.allocate(length, 'float32');
    return { info: this.#onDevice(shape, 'float32', values), values };
  }

  intOutput(shape: number[], length: number): { info: tf.TensorInfo; values: DeviceInts } {
    const values = this.addon.allocate(length, 'int32');
    return { info: this.#onDevice(shape, 'int32', values), values };
  }

  filled(shape: number[], dtype: tf.DataType, value: number): tf.TensorInfo {
    const length = tf.util.sizeFromShape(shape);
    if (dtype !== 'float32') {
      const values = dtype === 'int32' ? new Int32Array(length) : new Uint8Array(length);
      return this.adopt(shape, dtype, values.fill(value));
    }
    const y = this.output(shape, length);
    this.addon.fill(y.values, value);
    return y.info;
  }

  /** A tensor of values of the host, which nobody else may change. */
  adopt(
    shape: number[],
    dtype: tf.DataType,
    values: tf.backend_util.BackendValues | undefined,
  ): tf.TensorInfo {
    return this.#info(shape, CudaData.onHost(this.addon, dtype, values));
  }

  share(x: tf.TensorInfo, shape: number[]): tf.TensorInfo {
    this.#storage.own(x.dataId).owners++;
    return { dataId: x.dataId, shape, dtype: x.dtype };
  }

  roomForProduct(): null {
    return null;
  }

  keptOfLoss(): number {
    return 0;
  }

  release(values: DeviceFloats): void {
    this.addon.release(values);
  }

  floats(x: tf.TensorInfo): DeviceFloats {
    return this.#storage.own(x.dataId).floats;
  }

  elements(x: tf.TensorInfo): DeviceFloats {
    return this.floats(x);
  }

  ints(x: tf.TensorInfo): DeviceInts {
    return this.#storage.own(x.dataId).ints;
  }

  hostInts(x: tf.TensorInfo): Int32Array | undefined {
    return this.#storage.own(x.dataId).host as Int32Array | undefined;
  }

  /** The values of a tensor of numbers; waits for the GPU where only it has them. */
  valuesOnHost(x: tf.TensorInfo): Float32Array | Int32Array | Uint8Array {
    return this.#storage.own(x.dataId).values as Float32Array;
  }

  changing(x: tf.TensorInfo): DeviceFloats {
    return this.#storage.own(x.dataId).changing;
  }

  changingInts(x: tf.TensorInfo): DeviceInts {
    return this.#storage.own(x.dataId).changingInts;
  }

  /** The home of a tensor's values is the host's memory from now on; they visit the GPU when they are used. */
  keepOnHost(x: tf.TensorInfo): void {
    this.#storage.own(x.dataId).keepOnHost();
  }

  constant(values: readonly number[]): DeviceFloats {
    let array = this.#constants.get(values);
    if (array === undefined) {
      array = this.addon.upload(Float32Array.from(values));
      this.#constants.set(values, array);
    }
    return array;
  }

  weight(weight: Weight): WeightHandle {
    return weight.handle(this.#createWeight, this.#disposeWeight);
  }

  fill(values: DeviceFloats, value: number): void {
    this.addon.fill(values, value);
  }

  assembles(dtype: tf.DataType): boolean {
    return dtype === 'float32';
  }

  assembled({ shape, fill }: Assembly, moves: readonly BlockMove[]): tf.TensorInfo {
    const y = this.output(shape, tf.util.sizeFromShape(shape));
    if (fill !== undefined) this.addon.fill(y.values, fill);
    for (const { x, shape: block, from, to } of moves) {
      const [starts, strides] = [from.start, from.strides];
      this.addon.stridedCopy(
        this.floats(x),
        y.values,
        block,
        starts,
        strides,
        to.start,
        to.strides,
      );
    }
    return y.info;
  }

  override write(
    values: tf.backend_util.BackendValues,
    shape: number[],
    dtype: tf.DataType,
  ): tf.DataId {
    // Strings and complex tensors come without values, or with an array that nobody changes.
    const copy = Array.isArray(values) ? values : values?.slice();
    return this.adopt(shape, dtype, copy).dataId;
  }

  override makeTensorInfo(
    shape: number[],
    dtype: tf.DataType,
    values?: tf.backend_util.BackendValues | string[],
  ): tf.TensorInfo {
    if (dtype === 'string') return super.makeTensorInfo(shape, dtype, values);
    return this.adopt(shape, dtype, values as tf.backend_util.BackendValues | undefined);
  }

  override refCount(dataId: tf.DataId): number {
    return this.#storage.find(dataId)?.owners ?? 0;
  }

  override incRef(dataId: tf.DataId): void {
    this.#storage.own(dataId).owners++;
  }

  override decRef(dataId: tf.DataId): void {
    const data = this.#storage.find(dataId);
    if (data !== undefined) data.owners--;
  }

  override move(
    dataId: tf.DataId,
    values: tf.backend_util.BackendValues,
    _shape: number[],
    dtype: tf.DataType,
    refCount: number,
  ): void {
    this.#storage.take(dataId, CudaData.onHost(this.addon, dtype, values), refCount);
  }

  override numDataIds(): number {
    return this.#storage.numDataIds();
  }

  /** Waits for the GPU. */
  override readSync(dataId: tf.DataId): tf.backend_util.BackendValues {
    const { values, dtype } = this.#storage.own(dataId);
    if (values === undefined || dtype === 'complex64' || dtype === 'string') {
      return super.readSync(dataId);
    }
    return values.slice() as tf.backend_util.BackendValues;
  }

  /** JavaScript goes on while the GPU works. */
  override async read(dataId: tf.DataId): Promise<tf.backend_util.BackendValues> {
    const data = this.#storage.own(dataId);
    const plain = data.dtype !== 'complex64' && data.dtype !== 'string';
    return plain ? data.read() : this.readSync(dataId);
  }

  override disposeData(dataId: tf.DataId, force = false): boolean {
    const data = this.#storage.find(dataId);
    if (data === undefined) return true;
    data.owners--;
    if (!force && data.owners > 0) return false;
    if (data.complexTensorInfos !== undefined) {
      this.disposeData(data.complexTensorInfos.real.dataId, true);
      this.disposeData(data.complexTensorInfos.imag.dataId, true);
    }
    data.release();
    this.#storage.delete(dataId);
    return true;
  }

  /** The bytes on the GPU are those of weights, caches and intermediate values as well. */
  override memory(): {
    unreliable: boolean;
    reasons: string[];
    numBytesInGPU: number;
    numBytesInGPUFree: number;
  } {
    const { inUseBytes, freeBytes } = this.addon.deviceMemory();
    return {
      unreliable: false,
      reasons: [],
      numBytesInGPU: inUseBytes,
      numBytesInGPUFree: freeBytes,
    };
  }

  #onDevice(shape: number[], dtype: tf.DataType, values: DeviceFloats | DeviceInts): tf.TensorInfo {
    return this.#info(shape, CudaData.onDevice(this.addon, dtype, values));
  }

  #info(shape: number[], data: CudaData): tf.TensorInfo {
    return { dataId: this.#storage.add(data), shape, dtype: data.dtype };
  }
}

/** tfjs's table from dataId to data, where a dataId made here is its own data. */
class CudaStorage extends tf.DataStorage<TensorData> {
  readonly #backend: CudaBackend;
  /** Data that came from another backend, by the dataId it has there. */
  readonly #moved = new WeakMap<tf.DataId, CudaData>();
  #count = 0;

  constructor(backend: CudaBackend) {
    super(backend, tf.engine());
    this.#backend = backend;
  }

  add(data: CudaData): CudaData {
    this.#count++;
    return data;
  }

  /** undefined for data that is another backend's. */
  find(dataId: tf.DataId): CudaData | undefined {
    if (!(dataId instanceof CudaData)) return this.#moved.get(dataId);
    return dataId.owners > 0 ? dataId : this.#moved.get(dataId);
  }

  /** Data of another backend comes here. */
  own(dataId: tf.DataId): CudaData {
    const found = this.find(dataId);
    if (found !== undefined) return found;
    tf.engine().moveData(this.#backend, dataId);
    return this.find(dataId) as CudaData;
  }

  take(dataId: tf.DataId, data: CudaData, owners: number): void {
    data.owners = owners;
    this.#moved.set(dataId, data);
    this.#count++;
  }

  override get(dataId: tf.DataId): TensorData {
    return this.own(dataId) as unknown as TensorData;
  }

  override has(dataId: tf.DataId): boolean {
    return this.find(dataId) !== undefined;
  }

  override delete(dataId: tf.DataId): boolean {
    this.#moved.delete(dataId);
    this.#count--;
    return true;
  }

  override numDataIds(): number {
    return this.#count;
  }
}
