import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import {
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  rmdir,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { LlmkitError } from '../errors.js';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** A file that is still being written changes more often. */
const ABANDONED_MS = 3_600_000;

/**
 * Fills a temporary folder beside the target and renames it to the target: complete or absent, also after SIGINT
 * or SIGTERM. An existing target is refused without `force`; with it, only a folder that llmkit wrote (it holds an
 * llmkit.json) or an empty one is replaced. A path of llmkit's own choice is replaced, whatever lies there.
 */
export async function writeFolder(
  target: string,
  options: { force?: boolean; owned?: boolean },
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  if (!options.owned) await checkTarget(target, options);
  const path = resolve(target);
  const firstCreated = await mkdir(dirname(path), { recursive: true });
  const folder = besides(path, 'tmp');
  const stopGuarding = removeOnExit(folder);
  try {
    await mkdir(folder);
    await fill(folder);
    await syncTree(folder);
    await replaceFolder(folder, path);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    if (firstCreated !== undefined) await removeEmpty(dirname(path), firstCreated);
    throw error;
  } finally {
    stopGuarding();
  }
}

/**
 * Throws unless a folder may be written to the target: call it before hours of work start.
 *
 * @throws LlmkitError `usage`; the message of an existing target contains '--force'
 */
export async function checkTarget(target: string, options: { force?: boolean }): Promise<void> {
  const existing = await lstat(target).catch(() => undefined);
  if (!existing) return;
  if (!options.force) {
    throw new LlmkitError(
      'usage',
      `${target}: exists already; --force replaces it, or choose another output`,
    );
  }
  const entries = existing.isDirectory() ? await readdir(target) : undefined;
  if (entries && (entries.length === 0 || entries.includes('llmkit.json'))) return;
  throw new LlmkitError(
    'usage',
    `${target}: is not a folder that llmkit wrote (it has no llmkit.json), so --force does not replace it; remove it ` +
      'yourself or choose another output',
  );
}

/** Writes a file, whole or piece by piece, under a temporary name beside it, then renames it. */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array | AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporary = besides(resolve(path), 'tmp');
  try {
    const file = await open(temporary, 'wx');
    try {
      await writeFile(file, data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Throws unless the file system of `path` (which need not exist yet) has this much free space. */
export async function checkFreeDisk(path: string, neededBytes: number): Promise<void> {
  let folder = resolve(path);
  while (!(await lstat(folder).catch(() => undefined)) && dirname(folder) !== folder) {
    folder = dirname(folder);
  }
  const { bavail, bsize } = await statfs(folder);
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  const mebibytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  throw new LlmkitError(
    'usage',
    `${path}: expected ${mebibytes(neededBytes)} of free disk space, got ${mebibytes(freeBytes)}`,
  );
}

/** A hidden name in the same folder that nobody else uses. */
export function besides(path: string, suffix: string): string {
  const unique = randomBytes(6).toString('hex');
  return join(dirname(path), `.${basename(path)}.${unique}.${suffix}`);
}

/** Removes a file or folder if the process ends before the returned function is called. */
export function removeOnExit(path: string): () => void {
  const remove = () => rmSync(path, { recursive: true, force: true });
  const onSignal = (signal: NodeJS.Signals) => {
    stop();
    // With another listener the process goes on: it ends with an error in fill, or by exit.
    if (process.listenerCount(signal) > 0) return guard();
    remove();
    process.kill(process.pid, signal);
  };
  const guard = () => {
    process.once('exit', remove);
    for (const signal of SIGNALS) process.once(signal, onSignal);
  };
  const stop = () => {
    process.off('exit', remove);
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
  guard();
  return stop;
}

/** Removes files that writers of this path who were killed left beside it. */
export async function removeAbandoned(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  for (const name of await readdir(folder)) {
    if (!name.startsWith(`.${basename(path)}.`) || !name.endsWith('.tmp')) continue;
    const temporary = join(folder, name);
    const stats = await lstat(temporary).catch(() => undefined);
    if (stats === undefined || Date.now() - stats.mtimeMs < ABANDONED_MS) continue;
    await rm(temporary, { force: true });
  }
}

/** Puts a finished folder at the target, whose old folder is moved aside until it is there. */
async function replaceFolder(folder: string, target: string): Promise<void> {
  const old = besides(target, 'old');
  const hadTarget = await rename(target, old).then(
    () => true,
    () => false,
  );
  try {
    await rename(folder, target);
  } catch (error) {
    if (hadTarget) await rename(old, target);
    throw error;
  }
  await sync(dirname(target));
  if (hadTarget) await rm(old, { recursive: true });
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile() || entry.isDirectory()) await sync(join(entry.parentPath, entry.name));
  }
  await sync(folder);
}

/** Waits until what was written to a file or folder is on the disk. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes empty folders from `from` up to `last`. */
async function removeEmpty(from: string, last: string): Promise<void> {
  for (let folder = from; ; folder = dirname(folder)) {
    const removed = await rmdir(folder).then(
      () => true,
      () => false,
    );
    if (!removed || folder === last) return;
  }
}
