import { copyFile, mkdir, readFile, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { writeFileAtomic } from './output.js';

/** A repository on the hub. */
export interface HubRepo {
  readonly type: 'model' | 'dataset';
  /** org/name. */
  readonly name: string;
}

const COMMIT = /^[\da-f]{40}$/;

/**
 * One repository in the cache that Hugging Face's Python library keeps: `refs/<revision>` holds a commit,
 * `snapshots/<commit>/<file>` links to `blobs/<etag>`.
 */
export class RepoCache {
  readonly folder: string;

  constructor(cache: string, { type, name }: HubRepo) {
    this.folder = join(cache, [`${type}s`, ...name.split('/')].join('--'));
  }

  /** The commit that a revision was when it was last downloaded whole. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (COMMIT.test(revision)) return revision;
    const text = await readFile(join(this.folder, 'refs', revision), 'utf8').catch(() => '');
    return COMMIT.test(text.trim()) ? text.trim() : undefined;
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit) return;
    const path = join(this.folder, 'refs', revision);
    await mkdir(dirname(path), { recursive: true });
    await writeFileAtomic(path, commit);
  }

  /** The folder of a commit's files. */
  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  blob(etag: string): string {
    return join(this.folder, 'blobs', etag);
  }

  /** Makes a snapshot's file of a blob that is there; a copy where the system has no links. */
  async link(commit: string, { path, etag }: { path: string; etag: string }): Promise<void> {
    const file = join(this.snapshot(commit), path);
    if (await exists(file)) return;
    await mkdir(dirname(file), { recursive: true });
    const blob = this.blob(etag);
    try {
      await symlink(relative(dirname(file), blob), file);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPERM') await copyFile(blob, file);
      else if (code !== 'EEXIST') throw error;
    }
  }
}

/** Whether a file or folder is there, links followed. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
