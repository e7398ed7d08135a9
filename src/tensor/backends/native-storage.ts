import type { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '../tfjs.js';
import type { NativeData } from './native-data.js';

/** What tfjs's cpu backend keeps of a tensor. */
export type TensorData = ReturnType<MathBackendCPU['data']['get']>;

/** tfjs's table from dataId to data, where every dataId is its own data. */
export class NativeStorage extends tf.DataStorage<TensorData> {
  readonly #backend: MathBackendCPU;
  #count = 0;

  constructor(backend: MathBackendCPU) {
    super(backend, tf.engine());
    this.#backend = backend;
  }

  add(data: NativeData): NativeData {
    this.#count++;
    return data;
  }

  override get(dataId: tf.DataId): TensorData {
    // Data of another backend, or moved to it, comes (back) here.
    if (!((dataId as TensorData).refCount > 0)) tf.engine().moveData(this.#backend, dataId);
    return dataId as TensorData;
  }

  override set(dataId: tf.DataId, data: TensorData): void {
    Object.assign(dataId, data, { pooled: false });
    this.#count++;
  }

  override has(dataId: tf.DataId): boolean {
    return (dataId as TensorData).refCount > 0;
  }

  override delete(dataId: tf.DataId): boolean {
    const data = dataId as NativeData;
    data.values = undefined;
    data.refCount = 0;
    this.#count--;
    return true;
  }

  override numDataIds(): number {
    return this.#count;
  }
}
