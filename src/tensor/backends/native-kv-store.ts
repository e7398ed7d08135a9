import type { KvStore, LayerCacheShape } from '../layer-cache.js';
import * as tf from '../tfjs.js';
import type { Addon, KvCacheHandle } from './addon.js';

/** An addon that keeps keys and values. */
export type KvAddon = Pick<Addon, 'createKvCache' | 'disposeKvCache' | 'selectKvRows'>;

/** A `LayerCache` in pages of the addon. tfjs's memory() counts them as it does tensors. */
export class NativeKvStore implements KvStore {
  readonly handle: KvCacheHandle;
  readonly #addon: KvAddon;
  #numBytes = 0;

  constructor(addon: KvAddon, { batch, numKvHeads, headSize, dtype }: LayerCacheShape) {
    this.#addon = addon;
    this.handle = addon.createKvCache(batch, numKvHeads, headSize, dtype);
  }

  /** Takes note of the bytes of its pages. */
  count(numBytes: number): void {
    tf.engine().state.numBytes += numBytes - this.#numBytes;
    this.#numBytes = numBytes;
  }

  select(indices: readonly number[]): void {
    this.count(this.#addon.selectKvRows(this.handle, Int32Array.from(indices)));
  }

  dispose(): void {
    this.#addon.disposeKvCache(this.handle);
    this.count(0);
  }
}
