import type { KernelFunc, TensorInfo } from '../../tfjs.js';
import type { Floats, Ints } from '../arrays.js';
import type { CudaBackend } from '../cuda-backend.js';
import type { KernelDevice } from '../kernel-device.js';
import type { NativeBackend } from '../native-backend.js';

/** What tfjs hands to a kernel; inputs are those of its registry entry. */
export interface KernelParams {
  readonly inputs: Readonly<Record<string, TensorInfo>>;
  readonly attrs: object;
}

type Fallback = () => ReturnType<KernelFunc>;
type Outputs = TensorInfo | TensorInfo[];

/** One kernel, for every device: computes what it is fast at, and leaves the rest to the cpu's kernel. */
export type NativeKernel = <F extends Floats, I extends Ints>(
  params: KernelParams,
  native: KernelDevice<F, I>,
  fallback: Fallback,
) => Outputs;

/** One kernel for tensors in memory of the host. */
export type HostKernel = (
  params: KernelParams,
  native: NativeBackend,
  fallback: Fallback,
) => Outputs;

/** One kernel for tensors in memory of a GPU. */
export type DeviceKernel = (
  params: KernelParams,
  device: CudaBackend,
  fallback: Fallback,
) => Outputs;

/** Kernels by name, as tfjs or llmkit's ops call them. */
export type KernelTable = Readonly<Record<string, NativeKernel>>;
export type HostKernelTable = Readonly<Record<string, HostKernel>>;
export type DeviceKernelTable = Readonly<Record<string, DeviceKernel>>;

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
