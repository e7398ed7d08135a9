import { LlmkitError } from '../../errors.js';
import type { LayerCache } from '../layer-cache.js';
import * as tf from '../tfjs.js';
import { type AttentionOptions, attention } from './attention.js';
import { expectShape, hasKernel, runKernel } from './fused.js';
import { KvTensors } from './kv-tensors.js';
import { rope } from './rope.js';

/**
 * Kernel of `cachedAttention`: inputs q, k, v, first, last, and cos and sin where there are angles;
 * attributes cache, positions and those of `attention`. Positions that are a tensor, and a table, are inputs.
 */
export const CACHED_ATTENTION = 'LlmkitCachedAttention';

/** What is new in the rows of a cache: T tokens each. */
export interface NewTokens {
  /** [B, T, H, E] */
  readonly q: tf.Tensor4D;
  /** [B, T, K, E] */
  readonly k: tf.Tensor4D;
  readonly v: tf.Tensor4D;
}

export interface CachedAttentionOptions extends AttentionOptions {
  /** [B]: the place of each row's first new key; an int32 tensor where only the device knows it. */
  readonly positions: Int32Array | tf.Tensor;
  /** Where the keys are, of steps that follow each other on the device; see `DecodeSteps`. */
  readonly table?: tf.Tensor | undefined;
  /** [B, T, R / 2] by which q and k are turned first; see `rope`. */
  readonly angles?: { readonly cos: tf.Tensor3D; readonly sin: tf.Tensor3D } | undefined;
}

/**
 * Turns q and k, writes k and v into the cache and attends to all that it holds: `rope`, rounding by the
 * cache's type, and `attention` in one step. No gradient.
 *
 * @param options.last below positions[b] + T
 * @returns [B, T, H, E]
 * @throws LlmkitError `shape`
 */
export function cachedAttention(
  cache: LayerCache,
  { q, k, v }: NewTokens,
  options: CachedAttentionOptions,
): tf.Tensor4D {
  checkShapes(cache, { q, k, v }, options);
  if (!hasKernel(CACHED_ATTENTION)) return tf.tidy(() => compose(cache, { q, k, v }, options));
  const { first, last, angles, positions, table, ...settings } = options;
  const onDevice = positions instanceof tf.Tensor;
  const places = { ...(onDevice && { positions }), ...(table && { table }) };
  const inputs = { q, k, v, first, last, ...angles, ...places };
  const attrs = { ...settings, cache, ...(!onDevice && { positions }) };
  return runKernel<tf.Tensor4D>(CACHED_ATTENTION, { inputs, attrs });
}

function checkShapes(
  { shape: { numKvHeads: K, headSize: E } }: LayerCache,
  { q, k, v }: NewTokens,
  { first, last, positions, angles, alibiSlopes }: CachedAttentionOptions,
): void {
  const [B, T, H] = q.shape;
  expectShape('cachedAttention: q', q.shape, [B, T, H, E]);
  expectShape('cachedAttention: k', k.shape, [B, T, K, E]);
  expectShape('cachedAttention: v', v.shape, k.shape);
  expectShape('cachedAttention: first', first.shape, [B, T]);
  expectShape('cachedAttention: last', last.shape, [B, T]);
  expectShape('cachedAttention: positions', [sizeOf(positions)], [B]);
  if (angles) expectShape('cachedAttention: cos', angles.cos.shape, [B, T, -1]);
  if (angles) expectShape('cachedAttention: sin', angles.sin.shape, angles.cos.shape);
  if (H % K === 0 && (alibiSlopes === undefined || alibiSlopes.length === H)) return;
  throw new LlmkitError(
    'shape',
    `cachedAttention: ${H} heads must be a multiple of the ${K} key/value heads, with a slope each`,
  );
}

function sizeOf(positions: CachedAttentionOptions['positions']): number {
  return positions instanceof tf.Tensor ? positions.size : positions.length;
}

function compose(
  cache: LayerCache,
  { q, k, v }: NewTokens,
  { angles, positions, table: _, ...options }: CachedAttentionOptions,
): tf.Tensor4D {
  const turn = (x: tf.Tensor4D) => (angles ? rope(x, angles.cos, angles.sin) : x);
  const store = cache.store((shape) => new KvTensors(shape));
  const places = positions instanceof tf.Tensor ? positions.dataSync() : positions;
  store.write(turn(k), v, places as Int32Array);
  return attention(turn(q), store.keys, store.values, options);
}
