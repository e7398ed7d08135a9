import {
  type BackendName,
  type BackendStatus,
  listBackends,
  useBackend,
} from '../tensor/backends/index.js';

export { VERSION } from './version.js';
export type { BackendStatus };

/** Tries every backend: which load on this machine, and why the others do not. */
export function describeBackends(): Promise<readonly BackendStatus[]> {
  return listBackends();
}

/** The backend that a run with this `--backend` computes with, and a warning when it is not the best. */
export function chosenBackend(
  name?: string,
): Promise<{ readonly name: BackendName; readonly warning?: string }> {
  return useBackend(name);
}
