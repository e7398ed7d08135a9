import { randomBytes } from 'node:crypto';
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** An install that is going on touches its folder more often. */
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

async function isAbandoned(path: string): Promise<boolean> {
  const info = await stat(path).catch(() => undefined);
  return info !== undefined && Date.now() - info.mtimeMs > ABANDONED_MS;
}
