import { roundedKv } from '../kv-dtype.js';
import type { KvStore, LayerCacheShape } from '../layer-cache.js';
import * as tf from '../tfjs.js';

/** Keys that room is made for at a time. */
const PAGE_KEYS = 128;

/** A `LayerCache` in tensors, for backends that have no form of their own. */
export class KvTensors implements KvStore {
  readonly #shape: LayerCacheShape;
  /** [B, C, K, E] */
  #keys: tf.Tensor4D;
  #values: tf.Tensor4D;

  constructor(shape: LayerCacheShape) {
    this.#shape = shape;
    this.#keys = tf.keep(this.#empty(shape.batch, 0));
    this.#values = tf.keep(this.#empty(shape.batch, 0));
  }

  get keys(): tf.Tensor4D {
    return this.#keys;
  }

  get values(): tf.Tensor4D {
    return this.#values;
  }

  /** Writes new keys and values [B, T, K, E], row b from positions[b] on. */
  write(k: tf.Tensor4D, v: tf.Tensor4D, positions: Int32Array): void {
    const needed = positions.reduce((most, position) => Math.max(most, position), 0) + k.shape[1];
    if (needed > this.#keys.shape[1]) {
      const more = Math.ceil(needed / PAGE_KEYS) * PAGE_KEYS - this.#keys.shape[1];
      this.#replace((old) => tf.tidy(() => tf.concat([old, this.#empty(old.shape[0], more)], 1)));
    }
    this.#keys = replaced(this.#keys, this.#written(this.#keys, k, positions));
    this.#values = replaced(this.#values, this.#written(this.#values, v, positions));
  }

  select(indices: readonly number[]): void {
    const chosen = Int32Array.from(indices);
    this.#replace((old) => tf.tidy(() => tf.gather(old, tf.tensor1d(chosen, 'int32'))));
  }

  dispose(): void {
    tf.dispose([this.#keys, this.#values]);
  }

  #empty(batch: number, capacity: number): tf.Tensor4D {
    const { numKvHeads, headSize } = this.#shape;
    return tf.zeros([batch, capacity, numKvHeads, headSize]);
  }

  #replace(make: (old: tf.Tensor4D) => tf.Tensor4D): void {
    this.#keys = replaced(this.#keys, make(this.#keys));
    this.#values = replaced(this.#values, make(this.#values));
  }

  #written(cache: tf.Tensor4D, x: tf.Tensor4D, positions: Int32Array): tf.Tensor4D {
    const { headSize, dtype } = this.#shape;
    const values = Float32Array.from(cache.dataSync());
    const added = roundedKv(x.dataSync() as Float32Array, headSize, dtype);
    const row = cache.shape[2] * cache.shape[3];
    const length = x.shape[1] * row;
    positions.forEach((position, b) => {
      const start = (b * cache.shape[1] + position) * row;
      values.set(added.subarray(b * length, (b + 1) * length), start);
    });
    return tf.tensor4d(values, cache.shape);
  }
}

/** A tensor that outlives the scope, in the place of another. */
function replaced(old: tf.Tensor4D, by: tf.Tensor4D): tf.Tensor4D {
  tf.keep(by);
  old.dispose();
  return by;
}
