import { randomBytes } from 'node:crypto';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** In a folder that is being filled, the number of the process that does so. */
export const PID_FILE = join('scratch', 'pid');
/** Without one, a folder this old is nobody's. */
const ABANDONED_MS = 3_600_000;

/** A name beside a folder for what is removed there. */
export function aside(folder: string): string {
  return join(dirname(folder), `.${basename(folder)}.${randomBytes(6).toString('hex')}.old`);
}

/** Removes what installs into this folder left beside it when they were killed. */
export async function removeLeftovers(folder: string): Promise<void> {
  const parent = dirname(folder);
  const begins = `.${basename(folder)}.`;
  for (const name of await readdir(parent).catch(() => [])) {
    if (!name.startsWith(begins)) continue;
    const path = join(parent, name);
    if (name.endsWith('.old') || (name.endsWith('.tmp') && (await isAbandoned(path)))) {
      await rm(path, { recursive: true, force: true });
    }
  }
}

async function isAbandoned(folder: string): Promise<boolean> {
  const pid = Number(await readFile(join(folder, PID_FILE), 'utf8').catch(() => ''));
  if (pid > 0) return !isRunning(pid);
  const info = await stat(folder).catch(() => undefined);
  return info !== undefined && Date.now() - info.mtimeMs > ABANDONED_MS;
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
