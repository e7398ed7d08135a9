import type { KvDtype } from './kv-dtype.js';

/** Keys and values of one layer. */
export interface LayerCacheShape {
  /** Rows. */
  readonly batch: number;
  readonly numKvHeads: number;
  readonly headSize: number;
  readonly dtype: KvDtype;
}

/** A backend's own form of a `LayerCache`. */
export interface KvStore {
  /** Row indices[i] becomes row i. */
  select(indices: readonly number[]): void;
  /** Makes room for so many keys in every row, where a step that is recorded will need it. */
  reserve?(lengthTokens: number): void;
  /** Whether keys and values have the same bits however many tokens are computed at a time. */
  readonly keepsBits?: true;
  /** Forgets all keys; left out where what lies behind the last key that a query sees changes nothing. */
  clear?(): void;
  dispose(): void;
}

/** Keys and values that rows have written in one layer; the backend in use makes its own form of it. */
export class LayerCache {
  #shape: LayerCacheShape;
  #store: KvStore | undefined;

  constructor(shape: LayerCacheShape) {
    this.#shape = shape;
  }

  get shape(): LayerCacheShape {
    return this.#shape;
  }

  /** The backend's own form, made on first use. */
  store<T extends KvStore>(make: (shape: LayerCacheShape) => T): T {
    this.#store ??= make(this.#shape);
    return this.#store as T;
  }

  /** Row indices[i] becomes row i. */
  select(indices: readonly number[]): void {
    this.#shape = { ...this.#shape, batch: indices.length };
    this.#store?.select(indices);
  }

  /** Makes room for so many keys in every row. */
  reserve(lengthTokens: number): void {
    this.#store?.reserve?.(lengthTokens);
  }

  /** Whether keys that stay are as good, bit for bit, as those that are written anew. */
  get keepsBits(): boolean {
    return this.#store?.keepsBits ?? false;
  }

  /** Its rows begin anew. */
  clear(): void {
    this.#store?.clear?.();
  }

  dispose(): void {
    this.#store?.dispose();
    this.#store = undefined;
  }
}
