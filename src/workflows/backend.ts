import {
  type BackendInUse,
  type BackendStatus,
  type CudaStatus,
  listBackends,
  useBackend,
} from '../tensor/backends/index.js';

export { VERSION } from './version.js';
export type { BackendStatus, CudaStatus };

/** Tries every backend: which load on this machine, and why the others do not. */
export function describeBackends(): Promise<readonly BackendStatus[]> {
  return listBackends();
}

/** The backend that a run with these flags computes with, and a warning when it is not the best. */
export function chosenBackend({
  backend,
  device,
}: {
  readonly backend?: string | undefined;
  readonly device?: string | undefined;
}): Promise<BackendInUse> {
  return useBackend(backend, { device });
}
