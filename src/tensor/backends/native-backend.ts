import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import type { Compute } from '../compute.js';
import type { Held, HoldingBackend } from '../ops/held.js';
import * as tf from '../tfjs.js';
import type { PackedUse, Weight, WeightData, WeightForm } from '../weight.js';
import type { Addon, Matrix, RecordingHandle, WeightHandle } from './addon.js';
import type { Elements } from './arrays.js';
import { BufferPool } from './buffer-pool.js';
import type { Assembly, BlockMove, KernelDevice } from './kernel-device.js';
import { NativeData } from './native-data.js';
import { NativeStorage, type TensorData } from './native-storage.js';

/** Values of a tensor as tfjs's cpu kernels see them. */
export type Values = Float32Array | Int32Array | Uint8Array;
/** The data of a tensor that is one array of numbers. */
type ArrayData = Omit<NativeData, 'values'> & { values: Values | undefined };

/**
 * The tfjs backend whose kernels are the addon's. It extends the cpu backend, because every kernel
 * that the addon lacks is the cpu's: tensors are JavaScript arrays for both.
 */
export class NativeBackend
  extends MathBackendCPU
  implements KernelDevice<Float32Array, Int32Array>, HoldingBackend
{
  readonly holdsBf16 = true;
  readonly addon: Addon;
  #pool: BufferPool;
  readonly #createWeight: (data: WeightData, compute: Compute) => WeightHandle;
  readonly #disposeWeight: (handle: WeightHandle) => void;
  readonly #storage: NativeStorage;
  /** Float32 copies of values that are held as bf16, for the kernel that runs. */
  readonly #copies: Float32Array[] = [];
  /** While a computation is recorded: whether all of it was calls of the addon so far. */
  #recording: { whole: boolean } | undefined;

  constructor(addon: Addon) {
    super();
    this.addon = addon;
    this.#pool = this.#newPool();
    this.#storage = new NativeStorage(this);
    this.data = this.#storage;
    this.#createWeight = (data, compute) => addon.createWeight(data, compute);
    this.#disposeWeight = (handle) => addon.disposeWeight(handle);
  }

  #newPool(): BufferPool {
    return new BufferPool((bytes) => this.addon.alignedBuffer(bytes));
  }

  /** Arrays that wait for reuse. */
  get pool(): BufferPool {
    return this.#pool;
  }

  /**
   * Runs a computation and keeps the calls of the addon that it is made of; handle is null where it is
   * made of more. Its arrays stay its own until the result is disposed of.
   */
  record(compute: () => tf.Tensor): { result: tf.Tensor; handle: RecordingHandle | null } {
    const pool = this.#pool;
    const recording = { whole: true };
    this.#pool = this.#newPool();
    this.#recording = recording;
    this.addon.beginRecording();
    let handle: RecordingHandle | null;
    let result: tf.Tensor;
    try {
      result = compute();
    } finally {
      handle = this.addon.endRecording();
      this.#recording = undefined;
      this.#pool = pool;
    }
    (result.dataId as NativeData).pooled = false;
    return { result, handle: recording.whole ? handle : null };
  }

  /** Says that JavaScript has read or made values: a recording cannot do so. */
  computedHere(): void {
    if (this.#recording !== undefined) this.#recording.whole = false;
  }

  /** A float32 tensor of any content, from the pool: the output of a kernel. */
  output(shape: number[], length: number): { info: tf.TensorInfo; values: Float32Array };
  output(
    shape: number[],
    length: number,
    held: Held,
  ): { info: tf.TensorInfo; values: Elements<Float32Array> };
  output(
    shape: number[],
    length: number,
    held?: Held,
  ): { info: tf.TensorInfo; values: Float32Array | Uint16Array } {
    if (held !== undefined) {
      const halves = this.#pool.acquireHalves(length);
      return { info: this.#info(shape, NativeData.held(halves)), values: halves };
    }
    const values = this.#pool.acquire(length);
    return { info: this.#info(shape, new NativeData(values, 'float32', true)), values };
  }

  #info(shape: number[], data: NativeData): tf.TensorInfo {
    return { dataId: this.#storage.add(data), shape, dtype: data.dtype };
  }

  intOutput(shape: number[], length: number): { info: tf.TensorInfo; values: Int32Array } {
    const values = new Int32Array(length);
    return { info: this.adopt(shape, 'int32', values), values };
  }

  /** A tensor of any content, of any dtype that is an array of numbers. */
  newTensor(shape: number[], dtype: tf.DataType): { info: tf.TensorInfo; values: Values } {
    const length = tf.util.sizeFromShape(shape);
    if (dtype === 'float32') return this.output(shape, length);
    const values = dtype === 'int32' ? new Int32Array(length) : new Uint8Array(length);
    return { info: this.adopt(shape, dtype, values), values };
  }

  filled(shape: number[], dtype: tf.DataType, value: number): tf.TensorInfo {
    this.computedHere();
    const y = this.newTensor(shape, dtype);
    y.values.fill(value);
    return y.info;
  }

  fill(values: Float32Array, value: number): void {
    this.computedHere();
    values.fill(value);
  }

  roomForProduct(length: number): Float32Array {
    return this.#pool.acquire(length);
  }

  release(values: Float32Array): void {
    this.#pool.release(values);
  }

  keptOfLoss(weight: Matrix<Float32Array>, M: number, cols: number, rounded: boolean): number {
    return this.addon.crossEntropyKept(weight, M, cols, rounded);
  }

  assembles(dtype: tf.DataType): boolean {
    return dtype === 'float32' || dtype === 'int32';
  }

  assembled({ shape, dtype, fill }: Assembly, moves: readonly BlockMove[]): tf.TensorInfo {
    const y = this.newTensor(shape, dtype);
    if (fill !== undefined) this.fill(y.values as Float32Array, fill);
    for (const { x, shape: block, from, to } of moves) {
      this.addon.stridedCopy(
        this.values(x) as Float32Array,
        y.values as Float32Array,
        block,
        from.start,
        from.strides,
        to.start,
        to.strides,
      );
    }
    return y.info;
  }

  /** A tensor that takes over these values, which nobody else may change. */
  adopt(shape: number[], dtype: tf.DataType, values: Values): tf.TensorInfo {
    return this.#info(shape, new NativeData(values, dtype, false));
  }

  /** The same storage under another shape. */
  share(x: tf.TensorInfo, shape: number[]): tf.TensorInfo {
    this.#storage.get(x.dataId).refCount++;
    return { dataId: x.dataId, shape, dtype: x.dtype };
  }

  /** The values of a tensor that is not a string; only for reading, only within the kernel. */
  values(x: tf.TensorInfo): Values {
    return x.dtype === 'float32' ? this.floats(x) : this.ints(x);
  }

  /** The values of a float32 tensor; only for reading, only within the kernel. What is held as bf16 is copied. */
  floats(x: tf.TensorInfo): Float32Array {
    const data = this.#storage.get(x.dataId) as NativeData;
    if (data.halves === undefined) return data.values as Float32Array;
    const copy = this.#pool.acquire(data.halves.length);
    this.addon.convert(data.halves, copy);
    this.#copies.push(copy);
    return copy;
  }

  elements(x: tf.TensorInfo): Elements<Float32Array> {
    const data = this.#storage.get(x.dataId) as NativeData;
    return data.halves ?? (data.values as Float32Array);
  }

  /** A kernel has returned: nobody reads the copies that were made for it. */
  endKernel(): void {
    while (this.#copies.length > 0) this.#pool.release(this.#copies.pop() as Float32Array);
  }

  /** The values of an int32 tensor; only for reading, only within the kernel. */
  ints(x: tf.TensorInfo): Int32Array {
    return this.#storage.get(x.dataId).values as Int32Array;
  }

  hostInts(x: tf.TensorInfo): Int32Array {
    return this.ints(x);
  }

  changing(x: tf.TensorInfo): Float32Array {
    const data = this.#storage.get(x.dataId) as NativeData;
    if (data.halves !== undefined) this.#keepFloats(data, data.halves);
    return data.values as Float32Array;
  }

  /** The tensor is no longer held as bf16. */
  #keepFloats(data: NativeData, halves: Uint16Array): void {
    const values = this.#pool.acquire(halves.length);
    this.addon.convert(halves, values);
    data.values = values;
    this.#pool.release(halves);
  }

  changingInts(x: tf.TensorInfo): Int32Array {
    return this.ints(x);
  }

  constant(values: readonly number[]): Float32Array {
    return Float32Array.from(values);
  }

  /** The arrays that a tensor is made of: two when it is complex, none when it is a string. */
  arraysOf(x: tf.TensorInfo): ArrayData[] {
    const data = this.#storage.get(x.dataId);
    if (data.dtype === 'string') return [];
    if (data.complexTensorInfos === undefined) return [data as ArrayData];
    const { real, imag } = data.complexTensorInfos;
    return [...this.arraysOf(real), ...this.arraysOf(imag)];
  }

  /** The addon's form of a frozen weight, made on first use. */
  weight(weight: Weight): WeightHandle {
    return weight.handle(this.#createWeight, this.#disposeWeight);
  }

  /** Has the addon pack a weight, beside JavaScript. */
  async pack(weight: Weight): Promise<PackedUse> {
    const form = this.formOf(await this.addon.packWeight(weight.data, weight.compute));
    weight.keepForm(form);
    return form.use;
  }

  /** What a packed weight is enough for. */
  packedUse(handle: WeightHandle): PackedUse {
    return this.addon.hasRows(handle) ? 'products and rows' : 'products';
  }

  /** A packed weight that the addon has already, as the form of a weight. */
  formOf(handle: WeightHandle): WeightForm {
    const release = () => this.#disposeWeight(handle);
    return { make: this.#createWeight, value: handle, use: this.packedUse(handle), release };
  }

  override write(
    values: tf.backend_util.BackendValues,
    _shape: number[],
    dtype: tf.DataType,
  ): tf.DataId {
    // What is written while a computation is recorded is a constant of it: nothing else goes there.
    if (!(values instanceof Float32Array) || this.#recording !== undefined) {
      const copy = Array.isArray(values) ? values : values?.slice();
      return this.#storage.add(new NativeData(copy, dtype, false));
    }
    const copy = this.#pool.acquire(values.length);
    copy.set(values);
    return this.#storage.add(new NativeData(copy, dtype, true));
  }

  override makeTensorInfo(
    shape: number[],
    dtype: tf.DataType,
    values?: tf.backend_util.BackendValues | string[],
  ): tf.TensorInfo {
    if (dtype === 'string') return super.makeTensorInfo(shape, dtype, values);
    const data = new NativeData(values as Values | undefined, dtype, false);
    return { dataId: this.#storage.add(data), shape, dtype };
  }

  override refCount(dataId: tf.DataId): number {
    return (dataId as NativeData).refCount ?? 0;
  }

  override incRef(dataId: tf.DataId): void {
    this.#storage.get(dataId).refCount++;
  }

  override decRef(dataId: tf.DataId): void {
    (dataId as NativeData).refCount--;
  }

  override move(
    dataId: tf.DataId,
    values: tf.backend_util.BackendValues,
    _shape: number[],
    dtype: tf.DataType,
    refCount: number,
  ): void {
    this.#storage.set(dataId, { values, dtype, refCount });
  }

  override numDataIds(): number {
    return this.#storage.numDataIds();
  }

  /** A copy: the storage is used again when the tensor is gone. */
  override readSync(dataId: tf.DataId): tf.backend_util.BackendValues {
    this.computedHere();
    const { values, dtype } = this.#storage.get(dataId);
    if (values === undefined || dtype === 'complex64' || dtype === 'string') {
      return super.readSync(dataId);
    }
    return values.slice() as tf.backend_util.BackendValues;
  }

  override disposeData(dataId: tf.DataId, force = false): boolean {
    const data = dataId as NativeData;
    if (!this.#storage.has(dataId)) return true;
    data.refCount--;
    if (!force && data.refCount > 0) return false;
    if (data.pooled) this.#pool.release(data.halves ?? (data.values as Float32Array));
    else if (data.dtype === 'complex64') this.#disposeParts(data as TensorData);
    this.#storage.delete(dataId);
    return true;
  }

  #disposeParts({ complexTensorInfos }: TensorData): void {
    if (complexTensorInfos === undefined) return;
    this.disposeData(complexTensorInfos.real.dataId, true);
    this.disposeData(complexTensorInfos.imag.dataId, true);
  }

  /** numBytes counts float32 also where values are held as bf16; numBytesInUse and numBytesFree are the pool's arrays. */
  override memory(): {
    unreliable: boolean;
    reasons: string[];
    numBytesInUse: number;
    numBytesFree: number;
  } {
    const { inUseBytes, freeBytes } = this.#pool;
    return {
      unreliable: false,
      reasons: [],
      numBytesInUse: inUseBytes,
      numBytesFree: freeBytes,
    };
  }
}
