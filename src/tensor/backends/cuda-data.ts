import type * as tf from '../tfjs.js';
import type { DeviceAddon } from './addon-device.js';
import type { DeviceFloats, DeviceInts } from './arrays.js';
import type { Tracked } from './tensor-table.js';

/** Up to this length values stay on the host as well when they go to the device. */
const KEPT_ON_HOST = 4096;

/**
 * What a tensor's dataId is on `cuda`: its values on the device, on the host, or on both. They go to where they
 * are wanted when they first are. The cpu's kernels read `values` as they read their own.
 */
export class CudaData {
  readonly dtype: tf.DataType;
  /** Tensors that share it; not `refCount`, which the `native` backend takes for its own. */
  owners = 1;
  /** What tfjs knows of it; see `TensorTable`. */
  tracked: Tracked | undefined;
  /** The parts of a complex tensor, which has no values of its own. */
  complexTensorInfos: { real: tf.TensorInfo; imag: tf.TensorInfo } | undefined;
  readonly #addon: DeviceAddon;
  #host: tf.backend_util.BackendValues | undefined;
  #device: DeviceFloats | DeviceInts | undefined;
  /** Whether the home of the values is the host, from where they visit the device. */
  #isPaged = false;
  /** Whether the device has them in bf16. */
  #isHeld = false;

  constructor(addon: DeviceAddon, dtype: tf.DataType) {
    this.#addon = addon;
    this.dtype = dtype;
  }

  static onHost(
    addon: DeviceAddon,
    dtype: tf.DataType,
    values: tf.backend_util.BackendValues | undefined,
  ): CudaData {
    const data = new CudaData(addon, dtype);
    data.#host = values;
    return data;
  }

  static onDevice(
    addon: DeviceAddon,
    dtype: tf.DataType,
    array: DeviceFloats | DeviceInts,
  ): CudaData {
    const data = new CudaData(addon, dtype);
    data.#device = array;
    return data;
  }

  /** float32 values that the device holds as bf16. */
  static held(addon: DeviceAddon, array: DeviceFloats): CudaData {
    const data = CudaData.onDevice(addon, 'float32', array);
    data.#isHeld = true;
    return data;
  }

  /** The values where the host has them. */
  get host(): tf.backend_util.BackendValues | undefined {
    return this.#host;
  }

  /** The values; waits for the device where the host does not have them. */
  get values(): tf.backend_util.BackendValues | undefined {
    if (this.#host === undefined && this.#device !== undefined) {
      this.#host = this.#typed(this.#addon.readSync(this.#device as DeviceFloats));
    }
    return this.#host;
  }

  /** Values that come from another backend, or go to it. */
  set values(values: tf.backend_util.BackendValues | undefined) {
    this.#host = values;
  }

  /** A copy of the values, once they are made. */
  async read(): Promise<tf.backend_util.BackendValues> {
    if (this.#host !== undefined) return this.#host.slice() as tf.backend_util.BackendValues;
    return this.#typed(await this.#addon.read(this.#device as DeviceFloats));
  }

  /** The values on the device. */
  get floats(): DeviceFloats {
    if (this.#device === undefined) {
      const host = this.#host as Float32Array;
      this.#device = this.#addon.upload(
        host instanceof Float32Array ? host : new Float32Array(host),
      );
      if (host.length > KEPT_ON_HOST) this.#host = undefined;
    }
    return this.#device as DeviceFloats;
  }

  get ints(): DeviceInts {
    if (this.#device === undefined) {
      const host = this.#host as Int32Array;
      this.#device = this.#addon.upload(host instanceof Int32Array ? host : new Int32Array(host));
    }
    return this.#device as DeviceInts;
  }

  /** The values on the device, which are about to be changed there. */
  get changing(): DeviceFloats {
    if (this.#isHeld) this.#keepFloats(this.floats);
    return this.#changed(this.floats);
  }

  get changingInts(): DeviceInts {
    return this.#changed(this.ints);
  }

  /** The home of the values is the host's memory from now on. */
  keepOnHost(): void {
    if (this.#isPaged) return;
    this.#addon.keepArrayOnHost(this.dtype === 'float32' ? this.floats : this.ints);
    this.#isPaged = true;
    this.#host = undefined;
  }

  /** The values are no longer held as bf16: what changes them writes float32. */
  #keepFloats(held: DeviceFloats): void {
    const values = this.#addon.allocate(held.length, 'float32');
    this.#addon.convert(held, values);
    this.#addon.release(held);
    if (this.#isPaged) this.#addon.keepArrayOnHost(values);
    this.#device = values;
    this.#isHeld = false;
  }

  /** Lets go of the values. */
  release(): void {
    if (this.#device !== undefined) this.#addon.release(this.#device);
    this.#device = undefined;
    this.#host = undefined;
    this.#isPaged = this.#isHeld = false;
    this.owners = 0;
  }

  #changed<T extends DeviceFloats | DeviceInts>(array: T): T {
    this.#host = undefined;
    if (this.#isPaged) this.#addon.changeArray(array);
    return array;
  }

  /** bool is int32 on the device. */
  #typed(values: Float32Array | Int32Array): tf.backend_util.BackendValues {
    return this.dtype === 'bool' ? Uint8Array.from(values) : values;
  }
}
