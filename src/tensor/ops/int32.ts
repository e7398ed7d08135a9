import * as tf from '../tfjs.js';

/** An int32 tensor of token ids, positions or targets. */
export function int32<R extends tf.Rank>(
  values: ArrayLike<number>,
  shape: tf.ShapeMap[R],
): tf.Tensor<R> {
  return tf.tensor(Int32Array.from(values), shape, 'int32');
}
