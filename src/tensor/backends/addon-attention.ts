import type { KvDtype } from '../kv-dtype.ts';
import type { Elements, Floats, Ints } from './arrays.ts';

/** Keys and values of a batch in one layer, made by `createKvCache`. */
export interface KvCacheHandle {
  readonly __llmkitKvCache: never;
}

/** Sizes of one attention call: B batch, T queries, S key capacity, H heads, K key/value heads, E head. */
export type AttentionShape = readonly [
  B: number,
  T: number,
  S: number,
  H: number,
  K: number,
  E: number,
];

/** Functions of the addon for attention and the cache of its keys and values; see `Addon`. */
export interface AddonAttention<F extends Floats, I extends Ints> {
  /**
   * y [B,T,H,E] = softmax over keys first..last of (scale·q·k, soft-capped when softcap > 0,
   * + slope[head]·(key - last)) · v, with q [B,T,H,E], k and v [B,S,K,E], first and last [B,T].
   * last < first gives zeros. logSumExp [B,T,H] is kept for the gradient (null: not wanted). `rounded`: what is
   * multiplied may be rounded to bf16, for matrix units; on the CPU, for the bits of `cachedAttention`, with `training` only.
   * `warpgroups`: as bf16-wgmma multiplies, whatever the number of rows.
   */
  attention(
    q: Elements<F>,
    k: Elements<F>,
    v: Elements<F>,
    first: I,
    last: I,
    alibiSlopes: F | null,
    y: Elements<F>,
    logSumExp: F | null,
    shape: AttentionShape,
    scale: number,
    softcap: number,
    rounded: boolean,
    training: boolean,
    warpgroups: boolean,
  ): void;
  /** An empty cache of so many rows. */
  createKvCache(rows: number, heads: number, headSize: number, dtype: KvDtype): KvCacheHandle;
  /** Frees its pages; using it afterwards throws RangeError. */
  disposeKvCache(cache: KvCacheHandle): void;
  /** Row indices[i] becomes row i; pages are shared until one is written. Returns the bytes held. */
  selectKvRows(cache: KvCacheHandle, indices: Int32Array): number;
  /**
   * Turns q and k [B,T,K,E] by cos and sin [B,T,half] as `rope` does (null: not at all), writes k and v
   * into the cache, row b from positions[b] on, and attends to what it holds. S of the shape is T; keys
   * beyond positions[b] + T throw RangeError. On a GPU positions that are there need the room that `reserveKv` makes,
   * and the table of a step, which may come to stand for another cache. Returns the bytes held.
   */
  cachedAttention(
    q: F,
    k: F,
    v: F,
    first: I,
    last: I,
    alibiSlopes: F | null,
    y: F,
    cache: KvCacheHandle,
    positions: Int32Array | I,
    cos: F | null,
    sin: F | null,
    shape: AttentionShape,
    scale: number,
    softcap: number,
    rounded: boolean,
    table: I | null,
  ): number;
  attentionGrad(
    q: Elements<F>,
    k: Elements<F>,
    v: Elements<F>,
    first: I,
    last: I,
    alibiSlopes: F | null,
    y: Elements<F>,
    logSumExp: F,
    dy: F,
    dq: F,
    dk: F,
    dv: F,
    shape: AttentionShape,
    scale: number,
    softcap: number,
    rounded: boolean,
    training: boolean,
  ): void;
}
