import type { DownloadProgress } from '../checkpoint/hub.js';
import type { Io, Progress } from './command.js';

/** Shows downloads as they come, one bar (or a few lines) per file. */
export function showDownloads(io: Io): (progress: DownloadProgress) => void {
  let current: { readonly file: string; readonly progress: Progress } | undefined;
  return ({ file, receivedBytes, totalBytes }) => {
    if (current?.file !== file) {
      current?.progress.end();
      current = { file, progress: io.progress(`downloading ${file}`, megabytes(totalBytes), 'MB') };
    }
    current.progress.update(megabytes(receivedBytes));
    if (receivedBytes < totalBytes) return;
    current.progress.end();
    current = undefined;
  };
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6);
}
