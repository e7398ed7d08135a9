import type { DecodeSteps, DecodeStepsShape } from '../decode-steps.js';
import * as tf from '../tfjs.js';
import { CudaBackend } from './cuda-backend.js';
import { CudaSteps } from './cuda-steps.js';

/**
 * Whether the backend in use has steps of decoding that follow each other on the device. Not while weights visit it
 * from the host: they lie somewhere else each time.
 */
export function recordsSteps(): boolean {
  const backend = tf.backend();
  return backend instanceof CudaBackend && backend.addon.hostWeights().hostBytes === 0;
}

/** Such steps; see `recordsSteps`. */
export function newDecodeSteps(shape: DecodeStepsShape): DecodeSteps {
  return new CudaSteps(tf.backend() as CudaBackend, shape);
}
