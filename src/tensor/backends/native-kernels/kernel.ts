import type { DataType, KernelFunc, TensorInfo } from '../../tfjs.js';
import type { NativeBackend, Values } from '../native-backend.js';

/** What tfjs hands to a kernel; inputs are those of its registry entry. */
export interface KernelParams {
  readonly inputs: Readonly<Record<string, TensorInfo>>;
  readonly attrs: object;
}

/** One kernel of `native`: computes what it is fast at, and leaves the rest to the cpu's kernel. */
export type NativeKernel = (
  params: KernelParams,
  native: NativeBackend,
  fallback: () => ReturnType<KernelFunc>,
) => TensorInfo | TensorInfo[];

/** Kernels by name, as tfjs or llmkit's ops call them. */
export type KernelTable = Readonly<Record<string, NativeKernel>>;

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const length of shape) size *= length;
  return size;
}

/** Number of elements of the axes from start up to end. */
export function sizeOfAxes(shape: readonly number[], start: number, end = shape.length): number {
  let size = 1;
  for (let axis = start; axis < end; axis++) size *= shape[axis] as number;
  return size;
}

/** Whether a tensor is an array of numbers: not a string, not a pair of tensors. */
export function isNumeric(x: TensorInfo): boolean {
  return x.dtype !== 'string' && x.dtype !== 'complex64';
}

/** A tensor of any content, of any dtype that is an array of numbers. */
export function newTensor(native: NativeBackend, shape: number[], dtype: DataType) {
  const length = sizeOf(shape);
  if (dtype === 'float32') return native.output(shape, length);
  const values: Values = dtype === 'int32' ? new Int32Array(length) : new Uint8Array(length);
  return { info: native.adopt(shape, dtype, values), values };
}
