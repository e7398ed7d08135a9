import { lstat, rename, rm } from 'node:fs/promises';
import { installFolder } from '../../tensor/backends/managed.js';
import { aside, removeLeftovers } from './leftovers.js';

/** What `backend remove` did; the keys are those of `--json`. */
export interface RemoveResult {
  readonly action: 'removed' | 'absent';
  readonly folder: string;
}

/** Removes what `installTensorflow` made, whole or broken; nothing else. */
export async function removeTensorflow(): Promise<RemoveResult> {
  const folder = installFolder();
  await removeLeftovers(folder);
  if (!(await lstat(folder).catch(() => undefined))) return { action: 'absent', folder };
  // At once, so that a half removed one is never found.
  const removed = aside(folder);
  await rename(folder, removed);
  await rm(removed, { recursive: true, force: true });
  return { action: 'removed', folder };
}
