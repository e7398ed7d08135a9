import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { startProgress } from '../../../src/cli/progress.js';

/** What a run of progress writes. */
function written(isTerminal: boolean): string {
  const stream = new PassThrough() as unknown as NodeJS.WriteStream;
  const progress = startProgress({ stream, isTerminal }, 'packing', 200, 'rows');
  for (let done = 1; done <= 200; done++) progress.update(done, `row ${done}`);
  progress.end();
  return String(stream.read() ?? '');
}

test('without a terminal: a plain line per tenth', () => {
  const lines = written(false).trim().split('\n');
  expect(lines).toHaveLength(10);
  expect(lines[0]).toBe('packing: 20/200 rows · row 20');
  expect(lines.at(-1)).toBe('packing: 200/200 rows · row 200');
  expect(written(false)).not.toContain('\x1b');
});
