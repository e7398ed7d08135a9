import type { KvStore, LayerCacheShape } from '../../layer-cache.js';
import { NativeKvStore } from '../native-kv-store.js';
import type { OpAddon } from './op-library.js';

/** A `LayerCache` in pages of the op library, which its ops know by a number. */
export class NumberedKvStore implements KvStore {
  readonly number: number;
  readonly #addon: OpAddon;
  readonly #store: NativeKvStore;

  constructor(addon: OpAddon, shape: LayerCacheShape) {
    this.#addon = addon;
    this.#store = new NativeKvStore(addon, shape);
    this.number = addon.nameCache(this.#store.handle);
  }

  /** Takes note of the bytes of its pages. */
  count(): void {
    this.#store.count(this.#addon.cacheBytes(this.number));
  }

  select(indices: readonly number[]): void {
    this.#store.count(this.#addon.selectCache(this.number, Int32Array.from(indices)));
  }

  dispose(): void {
    this.#addon.forgetCache(this.number);
    this.#store.dispose();
  }
}
