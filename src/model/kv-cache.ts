import { LlmkitError } from '../errors.js';
import type { KvDtype } from '../tensor/kv-dtype.js';
import { LayerCache } from '../tensor/layer-cache.js';
import { RecordedStep } from './recorded-step.js';

/** Sizes of a cache, and how it keeps keys and values. */
export interface KvCacheShape {
  readonly batch: number;
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly headSize: number;
  readonly dtype: KvDtype;
}

/** Keys and values of the tokens a batch of rows has seen, layer by layer. */
export class KvCache {
  /** The step that adds one token to each row. */
  readonly step = new RecordedStep();
  readonly #shape: KvCacheShape;
  #rows: number[][];
  #layers: readonly LayerCache[];
  #positions: Int32Array;

  constructor(shape: KvCacheShape) {
    this.#shape = shape;
    this.#rows = Array.from({ length: shape.batch }, () => []);
    this.#layers = this.#empty();
    this.#positions = Int32Array.from(this.lengths);
  }

  /** Tokens held per row. */
  get lengths(): readonly number[] {
    return this.#rows.map((row) => row.length);
  }

  /** The same: where each row's next key goes. */
  get positions(): Int32Array {
    return this.#positions;
  }

  /** Ids of those tokens. */
  get rows(): readonly (readonly number[])[] {
    return this.#rows;
  }

  get layers(): readonly LayerCache[] {
    return this.#layers;
  }

  /** Where a layer writes keys and values behind those held; they count from `advance` on. */
  layer(index: number): LayerCache {
    const layer = this.#layers[index];
    if (layer === undefined) throw new LlmkitError('shape', `KvCache: there is no layer ${index}`);
    return layer;
  }

  /** Counts the tokens that every layer has written. */
  advance(ids: readonly ArrayLike<number>[]): void {
    this.#rows.forEach((row, b) => {
      row.push(...Array.from(ids[b] ?? []));
    });
    this.#positions = Int32Array.from(this.lengths);
  }

  /** Keeps row indices[i] as row i (beams, several sequences). */
  select(indices: readonly number[]): void {
    this.step.dispose();
    this.#rows = indices.map((index) => [...(this.#rows[index] ?? missingRow(index))]);
    this.#positions = Int32Array.from(this.lengths);
    for (const layer of this.#layers) layer.select(indices);
  }

  /** Makes room for so many tokens in every row of every layer that has been written. */
  reserve(lengthTokens: number): void {
    for (const layer of this.#layers) layer.reserve(lengthTokens);
  }

  /** Forgets what lies beyond `length` tokens in every row. */
  truncate(length: number): void {
    this.#rows = this.#rows.map((row) => row.slice(0, length));
    this.#positions = Int32Array.from(this.lengths);
  }

  /**
   * Readies its one row for another text: of the tokens that the text begins with as well, those stay whose keys and
   * values are as if they were written anew. So do a recorded step and the room that was made.
   *
   * @param ids of the text; none: no token stays
   */
  beginAnew(ids: readonly number[]): void {
    const [row = []] = this.#rows;
    const differs = row.findIndex((id, i) => id !== ids[i]);
    const same = this.#layers.every((layer) => layer.keepsBits) ? differs : 0;
    this.truncate(same < 0 ? row.length : same);
    if (same === 0) for (const layer of this.#layers) layer.clear();
  }

  /** Frees its memory; the cache is empty then. */
  dispose(): void {
    this.step.dispose();
    for (const layer of this.#layers) layer.dispose();
    this.#layers = this.#empty();
    this.truncate(0);
  }

  #empty(): readonly LayerCache[] {
    const { numLayers, ...layer } = this.#shape;
    const batch = this.#rows.length;
    return Array.from({ length: numLayers }, () => new LayerCache({ ...layer, batch }));
  }
}

function missingRow(index: number): never {
  throw new LlmkitError('shape', `KvCache: there is no row ${index}`);
}
