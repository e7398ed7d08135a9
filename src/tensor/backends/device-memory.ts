import * as tf from '../tfjs.js';
import type { Weight } from '../weight.js';
import { CudaBackend, type Spare } from './cuda-backend.js';

export type { Spare } from './cuda-backend.js';

/** The memory of a device that is not the host's. */
export interface DeviceMemory {
  /** Bytes that arrays, weights and caches may still take. */
  freeBytes(): number;
  /** The most bytes that they took at once. */
  peakBytes(): number;
  /** Takes no more than this from now on; left out: all that is free. */
  limit(bytes: number | undefined): void;
  /** Puts a weight there now rather than at its first use. */
  hold(weight: Weight): void;
  /** Keeps a weight on the host, from where it visits the device with all weights of its group whenever it is used. */
  keepOnHost(weight: Weight, group: number): void;
  /** Moves the home of a tensor to the host, from where it visits the device whenever it is used. */
  page(tensor: tf.Tensor): void;
  /** What is asked to let go of something before memory that is not there is an error. */
  readonly spares: Set<Spare>;
}

/** Paged tensors that visit together take so many times the bytes of the largest; kernels/cuda/binding/array_pager.h. */
export const PAGED_PLACES = 6;

/** That of the backend in use; undefined where it computes in the host's memory. */
export function deviceMemory(): DeviceMemory | undefined {
  const backend = tf.backend();
  if (!(backend instanceof CudaBackend)) return undefined;
  const { addon } = backend;
  return {
    spares: backend.spares,
    freeBytes: () => addon.deviceMemory().usableBytes,
    peakBytes: () => addon.deviceMemory().peakBytes,
    limit: (bytes = Number.MAX_SAFE_INTEGER) => addon.limitDeviceMemory(bytes),
    hold: (weight) => void backend.weight(weight),
    page: (tensor) => backend.keepOnHost(tensor),
    keepOnHost: (weight, group) => addon.keepOnHost(backend.weight(weight), group),
  };
}

/** Whether something was refused because the device has no memory for it. */
export function isOutOfDeviceMemory(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'LLMKIT_CUDA_MEMORY';
}
