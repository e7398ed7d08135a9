import { LlmkitError } from '../../errors.js';
import * as tf from '../tfjs.js';
import { expectShape } from './fused.js';

/**
 * Writes new keys or values into a cache, row b from positions[b] on. The old tensor is disposed of and a
 * new one, kept if the old one was, is returned.
 *
 * @param cache [B, C, K, E]
 * @param x [B, T, K, E]
 * @param positions [B]
 * @throws LlmkitError `shape`
 */
export function cacheWrite(cache: tf.Tensor4D, x: tf.Tensor4D, positions: Int32Array): tf.Tensor4D {
  const [B, C, K, E] = cache.shape;
  expectShape('cacheWrite: x', x.shape, [B, -1, K, E]);
  expectShape('cacheWrite: positions', [positions.length], [B]);
  const T = x.shape[1];
  if (positions.some((position) => position < 0 || position + T > C)) {
    throw new LlmkitError(
      'shape',
      `cacheWrite: ${T} tokens at ${positions.join(', ')} do not fit a cache of ${C}`,
    );
  }
  return replaced(cache, writeCopy(cache, x, positions));
}

function replaced(cache: tf.Tensor4D, by: tf.Tensor4D): tf.Tensor4D {
  if (cache.kept) tf.keep(by);
  cache.dispose();
  return by;
}

function writeCopy(cache: tf.Tensor4D, x: tf.Tensor4D, positions: Int32Array): tf.Tensor4D {
  const values = Float32Array.from(cache.dataSync());
  const added = x.dataSync();
  const row = cache.shape[2] * cache.shape[3];
  const length = x.shape[1] * row;
  positions.forEach((position, b) => {
    const start = (b * cache.shape[1] + position) * row;
    values.set(added.subarray(b * length, (b + 1) * length), start);
  });
  return tf.tensor4d(values, cache.shape);
}
