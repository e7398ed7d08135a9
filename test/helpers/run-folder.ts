import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'llmkit-test-run-';

/** Gives a run of tests a temporary folder of its own, and removes it at the end with those of runs that were killed. */
export default function setup(): () => void {
  const parent = tmpdir();
  for (const name of readdirSync(parent)) if (isOrphan(name)) remove(join(parent, name));
  const folder = mkdtempSync(join(parent, `${PREFIX}${process.pid}-`));
  process.env.TMPDIR = folder;
  return () => remove(folder);
}

/** Whether the process that made a run's folder is gone. */
function isOrphan(name: string): boolean {
  const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
  if (pid === undefined) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
