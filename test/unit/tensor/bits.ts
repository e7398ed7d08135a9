import * as tf from '../../../src/tensor/tfjs.js';

/** The bits of a float32 tensor: −0 and NaN compare too. */
export function bitsOf(x: tf.Tensor): Uint32Array {
  return new Uint32Array((x.dataSync() as Float32Array).buffer);
}

/** Runs fn and disposes every tensor that it makes. */
export function scoped<T>(fn: () => T): T {
  const results: T[] = [];
  tf.tidy(() => {
    results.push(fn());
  });
  return results[0] as T;
}
