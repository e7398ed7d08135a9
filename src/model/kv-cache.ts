import { LlmkitError } from '../errors.js';
import { cacheWrite } from '../tensor/ops/index.js';
import { dispose, gather, keep, type Tensor4D, tensor1d, zeros } from '../tensor/tfjs.js';

/** Sizes of a cache. */
export interface KvCacheShape {
  readonly batch: number;
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly headSize: number;
}

interface LayerCache {
  /** [B, C, K, E] */
  keys: Tensor4D;
  values: Tensor4D;
}

const PAGE_TOKENS = 64;

/** Keys and values of the tokens a batch of rows has seen; grows by pages, written in place. */
export class KvCache {
  readonly #shape: Omit<KvCacheShape, 'batch'>;
  #rows: number[][];
  #layers: LayerCache[] = [];
  #capacity = 0;

  constructor(shape: KvCacheShape) {
    this.#shape = shape;
    this.#rows = Array.from({ length: shape.batch }, () => []);
  }

  /** Tokens held per row. */
  get lengths(): readonly number[] {
    return this.#rows.map((row) => row.length);
  }

  /** Ids of those tokens. */
  get rows(): readonly (readonly number[])[] {
    return this.#rows;
  }

  /** Makes room for this many more tokens in every row. */
  reserve(tokens: number): void {
    const needed = Math.max(...this.lengths) + tokens;
    if (needed <= this.#capacity) return;
    const wanted = Math.max(needed, Math.floor(this.#capacity * 1.5));
    const capacity = Math.ceil(wanted / PAGE_TOKENS) * PAGE_TOKENS;
    const { numLayers, numKvHeads, headSize } = this.#shape;
    const batch = this.#rows.length;
    const shape: [number, number, number, number] = [batch, capacity, numKvHeads, headSize];
    const start = new Int32Array(batch);
    const grow = (old: Tensor4D | undefined) => {
      const empty = keep(zeros(shape) as Tensor4D);
      if (old === undefined) return empty;
      const grown = keep(cacheWrite(empty, old, start));
      old.dispose();
      return grown;
    };
    this.#layers = Array.from({ length: numLayers }, (_, i) => ({
      keys: grow(this.#layers[i]?.keys),
      values: grow(this.#layers[i]?.values),
    }));
    this.#capacity = capacity;
  }

  /**
   * Writes new keys and values [B, T, K, E] behind the ones held. What `reserve` made room for; the
   * tokens count from `advance` on.
   *
   * @returns all keys and all values, [B, C, K, E]
   */
  write(layer: number, keys: Tensor4D, values: Tensor4D): [Tensor4D, Tensor4D] {
    const held = this.#layers[layer];
    if (held === undefined) throw new LlmkitError('shape', `KvCache: there is no layer ${layer}`);
    const positions = Int32Array.from(this.lengths);
    held.keys = keep(cacheWrite(held.keys, keys, positions));
    held.values = keep(cacheWrite(held.values, values, positions));
    return [held.keys, held.values];
  }

  /** Counts the tokens that every layer has written. */
  advance(ids: readonly ArrayLike<number>[]): void {
    this.#rows.forEach((row, b) => {
      row.push(...Array.from(ids[b] ?? []));
    });
  }

  /** Keeps row indices[i] as row i (beams, several sequences). */
  select(indices: readonly number[]): void {
    this.#rows = indices.map((index) => [...(this.#rows[index] ?? missingRow(index))]);
    const chosen = tensor1d(Int32Array.from(indices), 'int32');
    const pick = (old: Tensor4D) => {
      const picked = keep(gather(old, chosen));
      old.dispose();
      return picked;
    };
    this.#layers = this.#layers.map(({ keys, values }) => ({
      keys: pick(keys),
      values: pick(values),
    }));
    chosen.dispose();
  }

  /** Forgets what lies beyond `length` tokens in every row. */
  truncate(length: number): void {
    this.#rows = this.#rows.map((row) => row.slice(0, length));
  }

  /** Frees the tensors; the cache is empty then. */
  dispose(): void {
    for (const { keys, values } of this.#layers) dispose([keys, values]);
    this.#layers = [];
    this.#capacity = 0;
    this.truncate(0);
  }
}

function missingRow(index: number): never {
  throw new LlmkitError('shape', `KvCache: there is no row ${index}`);
}
