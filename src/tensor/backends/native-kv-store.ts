import type { KvStore, LayerCacheShape } from '../layer-cache.js';
import * as tf from '../tfjs.js';
import type { Addon, KvCacheHandle } from './addon.js';
import type { AddonSteps } from './addon-steps.js';

/** An addon that keeps keys and values. */
export type KvAddon = Pick<Addon, 'createKvCache' | 'disposeKvCache' | 'selectKvRows'>;

/** One that may make room ahead. */
type ReservingAddon = KvAddon & Partial<Pick<AddonSteps, 'reserveKv'>>;

/** A `LayerCache` in pages of the addon. tfjs's memory() counts them as it does tensors. */
export class NativeKvStore implements KvStore {
  readonly handle: KvCacheHandle;
  readonly keepsBits = true;
  readonly #addon: ReservingAddon;
  #numBytes = 0;

  constructor(addon: ReservingAddon, { batch, numKvHeads, headSize, dtype }: LayerCacheShape) {
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

  reserve(lengthTokens: number): void {
    const numBytes = this.#addon.reserveKv?.(this.handle, lengthTokens);
    if (numBytes !== undefined) this.count(numBytes);
  }

  dispose(): void {
    this.#addon.disposeKvCache(this.handle);
    this.count(0);
  }
}
