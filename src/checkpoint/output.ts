import { LlmkitError } from '../errors.js';

/**
 * Fills a temporary folder beside the target and renames it to the target: complete or absent, also after SIGINT
 * or SIGTERM. An existing target is refused without `force`; with it, only a folder that holds an llmkit.json (or
 * nothing) is replaced.
 */
export async function writeFolder(
  target: string,
  _options: { force?: boolean },
  _fill: (folder: string) => Promise<void>,
): Promise<void> {
  throw new LlmkitError('unsupported', `writeFolder: not written yet (${target})`);
}

/** Writes a file under a temporary name, then renames it. */
export async function writeFileAtomic(path: string, _data: string | Uint8Array): Promise<void> {
  throw new LlmkitError('unsupported', `writeFileAtomic: not written yet (${path})`);
}

/** Throws unless the file system of `path` (which need not exist yet) has this much free space. */
export async function checkFreeDisk(path: string, _neededBytes: number): Promise<void> {
  throw new LlmkitError('unsupported', `checkFreeDisk: not written yet (${path})`);
}

/** Throws `usage` if the target exists (message contains '--force'): call it before hours of work start. */
export async function checkTarget(target: string, _options: { force?: boolean }): Promise<void> {
  throw new LlmkitError('unsupported', `checkTarget: not written yet (${target})`);
}
