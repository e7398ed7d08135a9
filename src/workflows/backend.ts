import { type BackendName, listBackends, useBackend } from '../tensor/backends/index.js';

/** What `llmkit backend list` shows of one backend. */
export interface BackendStatus {
  readonly name: BackendName;
  readonly loads: boolean;
  /** What it computes with, or why it does not load. */
  readonly detail: string;
}

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
