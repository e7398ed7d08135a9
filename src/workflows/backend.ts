import { type BackendName, listBackends } from '../tensor/backends/index.js';

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
