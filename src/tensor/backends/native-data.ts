import { fromBf16 } from '../half-floats.js';
import type * as tf from '../tfjs.js';
import type { Tracked } from './tensor-table.js';

/** What a tensor's dataId is on `native`: the storage itself, so that no table is searched. */
export class NativeData {
  /** The 16 bits of each value of a float32 tensor that is held as bf16. */
  halves: Uint16Array | undefined;
  #values: tf.backend_util.BackendValues | undefined;
  readonly dtype: tf.DataType;
  refCount = 1;
  /** Whether the values go back to the pool. */
  pooled: boolean;
  /** What tfjs knows of it; see `TensorTable`. */
  tracked: Tracked | undefined;

  constructor(
    values: tf.backend_util.BackendValues | undefined,
    dtype: tf.DataType,
    pooled: boolean,
  ) {
    this.#values = values;
    this.dtype = dtype;
    this.pooled = pooled;
  }

  /** A float32 tensor that is held as bf16, from the pool. */
  static held(halves: Uint16Array): NativeData {
    const data = new NativeData(undefined, 'float32', true);
    data.halves = halves;
    return data;
  }

  /** The values as the cpu's kernels read them: of those that are held as bf16 a copy. */
  get values(): tf.backend_util.BackendValues | undefined {
    return this.halves === undefined ? this.#values : fromBf16(this.halves);
  }

  set values(values: tf.backend_util.BackendValues | undefined) {
    this.halves = undefined;
    this.#values = values;
  }
}
