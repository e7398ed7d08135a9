import { expect, test } from 'vitest';
import type { Io } from '../../../src/cli/command.js';
import { showDownloads } from '../../../src/cli/downloads.js';

test('one bar per file, ended when the file is there', () => {
  const shown: string[] = [];
  const progress: Io['progress'] = (label, total, unit) => {
    shown.push(`${label} ${total} ${unit}`);
    return { update: (done) => shown.push(`${done}`), end: () => shown.push('end') };
  };
  const show = showDownloads({ progress } as Io);
  show({ file: 'a', receivedBytes: 1e6, totalBytes: 3e6 });
  show({ file: 'a', receivedBytes: 3e6, totalBytes: 3e6 });
  show({ file: 'b', receivedBytes: 1, totalBytes: 5 });
  show({ file: 'c', receivedBytes: 5, totalBytes: 5 });
  expect(shown).toEqual([
    ...['downloading a 3 MB', '1', '3', 'end'],
    ...['downloading b 1 MB', '1', 'end'],
    ...['downloading c 1 MB', '1', 'end'],
  ]);
});
