import * as tf from '../tfjs.js';

/** An int32 tensor of token ids, positions or targets. */
export function int32<R extends tf.Rank>(
  values: ArrayLike<number>,
  shape: tf.ShapeMap[R],
): tf.Tensor<R> {
  return tf.tensor(Int32Array.from(values), shape, 'int32');
}

/** A backend that knows whether the host has the values of a tensor. */
interface KnowsHostInts {
  hostInts?(x: tf.TensorInfo): Int32Array | undefined;
}

/** The values of an int32 tensor; undefined where only a device has them, which is not waited for. */
export function hostInts(x: tf.Tensor): Int32Array | undefined {
  const backend = tf.engine().backend as tf.KernelBackend & KnowsHostInts;
  return backend.hostInts ? backend.hostInts(x) : (x.dataSync<'int32'>() as Int32Array);
}
