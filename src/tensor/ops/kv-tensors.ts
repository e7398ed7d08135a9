import { roundedKv } from '../kv-dtype.js';
import type { KvStore, LayerCacheShape } from '../layer-cache.js';
import * as tf from '../tfjs.js';
import { cacheWrite } from './cache-write.js';

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
    this.#keys = cacheWrite(this.#keys, this.#rounded(k), positions);
    this.#values = cacheWrite(this.#values, this.#rounded(v), positions);
  }

  select(indices: readonly number[]): void {
    const chosen = Int32Array.from(indices);
    this.#replace((old) => tf.tidy(() => tf.gather(old, tf.tensor1d(chosen, 'int32'))));
  }

  clear(): void {
    this.#replace((old) => this.#empty(old.shape[0], 0));
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

  #rounded(x: tf.Tensor4D): tf.Tensor4D {
    const { headSize, dtype } = this.#shape;
    if (dtype === 'f32') return x;
    return tf.tensor4d(roundedKv(x.dataSync() as Float32Array, headSize, dtype), x.shape);
  }
}

/** A tensor that outlives the scope, in the place of another. */
function replaced(old: tf.Tensor4D, by: tf.Tensor4D): tf.Tensor4D {
  tf.keep(by);
  old.dispose();
  return by;
}
