import { LlmkitError } from '../../errors.js';
import * as tf from '../tfjs.js';
import { dequantize, Weight } from '../weight.js';
import { fused } from './fused.js';
import { hostInts } from './int32.js';
import { matrixShape } from './linear.js';

/** Kernel of `embedding` with a frozen weight: input ids; attribute weight. */
export const EMBEDDING = 'LlmkitEmbedding';

/**
 * The rows of a matrix at ids. A frozen `Weight` gets no gradient; a tensor does.
 *
 * @param ids int32 [B, T]
 * @param weight [V, D]
 * @returns [B, T, D]
 * @throws LlmkitError `shape` when an id is outside the matrix
 */
export function embedding(ids: tf.Tensor2D, weight: Weight | tf.Tensor2D): tf.Tensor3D {
  checkIds(ids, matrixShape(weight)[0]);
  if (!(weight instanceof Weight)) return tf.gather<tf.Tensor>(weight, ids) as tf.Tensor3D;
  const call = { inputs: { ids }, attrs: { weight } };
  return fused(EMBEDDING, call, () => rowsOf(weight, ids));
}

function checkIds(ids: tf.Tensor2D, rows: number): void {
  const wrong = hostInts(ids)?.find((id) => id < 0 || id >= rows);
  if (wrong === undefined) return;
  throw new LlmkitError('shape', `embedding: ids must be in 0..${rows - 1}, got ${wrong}`);
}

function rowsOf(weight: Weight, ids: tf.Tensor2D): tf.Tensor3D {
  const values = new Float32Array(ids.size * weight.cols);
  ids.dataSync().forEach((id, i) => {
    values.set(dequantize(weight.data, id, id + 1), i * weight.cols);
  });
  return tf.tensor3d(values, [...ids.shape, weight.cols]);
}
