import * as tf from '../tfjs.js';
import type { RecordingHandle } from './addon.js';
import { NativeBackend, type Values } from './native-backend.js';

/** A computation that can be run again on what its inputs hold then, in one call of the addon. */
export class Recorded {
  readonly #backend: NativeBackend;
  readonly #handle: RecordingHandle;
  readonly #result: tf.Tensor;

  constructor(backend: NativeBackend, handle: RecordingHandle, result: tf.Tensor) {
    this.#backend = backend;
    this.#handle = handle;
    this.#result = tf.keep(result);
  }

  /** Puts other values into a tensor that the computation reads. */
  set(input: tf.Tensor, values: Values): void {
    this.#backend.values(input).set(values);
  }

  /** Whether it could be run: not when a weight or a cache that it uses has changed its form. */
  run(): boolean {
    return this.#backend.addon.replay(this.#handle);
  }

  /** What the last run gave: the next one writes over it. */
  result(): tf.Tensor {
    const shared = this.#backend.share(this.#result, [...this.#result.shape]);
    return tf.engine().makeTensorFromTensorInfo(shared, this.#backend);
  }

  dispose(): void {
    this.#result.dispose();
  }
}

/**
 * Runs a computation without gradients, so that it can be run again without JavaScript.
 *
 * @param compute its other tensors must be gone when it returns
 * @returns undefined where the backend in use, or some kernel of the computation, cannot do that
 */
export function record(compute: () => tf.Tensor): Recorded | undefined {
  const engine = tf.engine();
  const backend = tf.backend();
  if (!(backend instanceof NativeBackend)) return undefined;
  if (engine.isTapeOn() || engine.state.profiling) return undefined;
  const { result, handle } = backend.record(compute);
  if (handle !== null) return new Recorded(backend, handle, result);
  result.dispose();
  return undefined;
}
