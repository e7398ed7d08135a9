import { type BigIntStats, statSync } from 'node:fs';

/** What a file looked like when it was opened. */
export interface FileStamp {
  readonly path: string;
  /** Differs after any change: inode, size, and the times of the last write and the last change. */
  readonly text: string;
  /** When the system last saw it change; unlike the time of writing nobody can set it. */
  readonly changedNs: bigint;
}

/** @param stats of the open file */
export function stampOf(path: string, { ino, size, mtimeNs, ctimeNs }: BigIntStats): FileStamp {
  return { path, text: [ino, size, mtimeNs, ctimeNs].join(' '), changedNs: ctimeNs };
}

/** Whether the file of this path is still the one that was opened, untouched. */
export function isUnchanged({ path, text }: FileStamp): boolean {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats !== undefined && stampOf(path, stats).text === text;
}
