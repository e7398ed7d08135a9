import { LlmkitError } from '../../errors.js';
import * as tf from '../tfjs.js';

/** A call of one of llmkit's own kernels. Attributes may hold any value, a `Weight` too. */
export interface KernelCall {
  readonly inputs: tf.NamedTensorMap;
  readonly attrs?: object;
}

/** Kernels of each backend by name: tfjs makes a new string for each look into its own table. */
const kernelsOfBackend = new WeakMap<tf.KernelBackend, Map<string, tf.KernelFunc | null>>();

/** The kernel of this name of the backend in use. */
function kernelOf(kernelName: string): tf.KernelFunc | null {
  const { backend, backendName } = tf.engine();
  const known = kernelsOfBackend.get(backend);
  const found = known?.get(kernelName);
  if (found !== undefined) return found;
  const kernel = tf.getKernel(kernelName, backendName)?.kernelFunc ?? null;
  kernelsOfBackend.set(backend, new Map(known).set(kernelName, kernel));
  return kernel;
}

/** Whether the backend in use has a kernel of this name. */
export function hasKernel(kernelName: string): boolean {
  return kernelOf(kernelName) !== null;
}

/**
 * Runs a kernel of the backend in use; the tape records it. Without a tape it is called at once:
 * tfjs's own way costs microseconds, several hundred times per token.
 */
export function runKernel<T extends tf.Tensor | tf.Tensor[] = tf.Tensor>(
  kernelName: string,
  { inputs, attrs = {} }: KernelCall,
): T {
  const engine = tf.engine();
  const kernel = kernelOf(kernelName);
  if (kernel === null || engine.isTapeOn() || engine.state.profiling) {
    return engine.runKernel(kernelName, inputs, attrs as tf.NamedAttrMap) as T;
  }
  return call(kernel, inputs, attrs);
}

/** Runs a kernel that the backend in use has, past the tape. */
export function runUntaped<T extends tf.Tensor | tf.Tensor[] = tf.Tensor>(
  kernelName: string,
  { inputs, attrs = {} }: KernelCall,
): T {
  return call(kernelOf(kernelName) as tf.KernelFunc, inputs, attrs);
}

function call<T extends tf.Tensor | tf.Tensor[]>(
  kernel: tf.KernelFunc,
  inputs: tf.NamedTensorMap,
  attrs: object,
): T {
  const engine = tf.engine();
  const { backend } = engine;
  const out = kernel({ inputs, attrs: attrs as tf.NamedAttrMap, backend });
  // tfjs-node's kernels return tensors that the engine knows already.
  const tensor = (info: tf.TensorInfo) =>
    info instanceof tf.Tensor ? info : engine.makeTensorFromTensorInfo(info, backend);
  return (Array.isArray(out) ? out.map(tensor) : tensor(out)) as T;
}

/**
 * Runs a fused op: the backend's kernel where it has one (its gradient is registered under the same
 * name), else the composition, whose gradient the tape finds by itself.
 */
export function fused<T extends tf.Tensor>(
  kernelName: string,
  call: KernelCall,
  composition: () => T,
): T {
  return hasKernel(kernelName) ? (runKernel(kernelName, call) as T) : tf.tidy(composition);
}

/** Whether other tensors (clones, reshapes) share the storage of x, so that it may not be changed. */
export function isShared(x: tf.Tensor): boolean {
  return tf.engine().backend.refCount(x.dataId) > 1;
}

/** A tensor of its own with the values of x. */
export function copyOf<T extends tf.Tensor>(x: T): T {
  return tf.tidy(() => tf.mul(x, tf.scalar(1, x.dtype)));
}

/** A variable's values are about to be changed in place: its clones, a snapshot say, keep those from before. */
export function ownStorage(variable: tf.Variable): void {
  if (isShared(variable)) tf.tidy(() => variable.assign(copyOf<tf.Tensor>(variable)));
}

/** Throws LlmkitError `shape` unless the shapes are equal; −1 stands for any length. */
export function expectShape(what: string, actual: readonly number[], expected: readonly number[]) {
  const same =
    actual.length === expected.length &&
    expected.every((length, axis) => length === -1 || length === actual[axis]);
  if (same) return;
  const wanted = expected.map((length) => (length === -1 ? '…' : length)).join(', ');
  throw new LlmkitError('shape', `${what} must be [${wanted}], got [${actual.join(', ')}]`);
}

/** Throws LlmkitError `shape` unless the last axis of x has this length. */
export function expectLastAxis(what: string, x: tf.Tensor, length: number): void {
  if (x.shape[x.rank - 1] === length) return;
  throw new LlmkitError('shape', `${what} must be [..., ${length}], got [${x.shape.join(', ')}]`);
}

/** [..., D] as [rows, D]. */
export function asMatrix(x: tf.Tensor): tf.Tensor2D {
  const cols = x.shape[x.rank - 1] ?? 1;
  return tf.reshape(x, [x.size / Math.max(cols, 1), cols]);
}
