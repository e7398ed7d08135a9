import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { expect, onTestFinished, test } from 'vitest';
import { HashThreads } from '../../../src/checkpoint/hash-threads.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const bytes = Buffer.from(Uint8Array.from({ length: 3 << 19 }, (_, i) => (i * 2654435761) >>> 13));

function openBytes(): number {
  const path = join(temporaryFolder(), 'bytes');
  writeFileSync(path, bytes);
  const descriptor = openSync(path, 'r');
  onTestFinished(() => closeSync(descriptor));
  return descriptor;
}

test.each([1, 2, 9])('ranges are hashed by %i threads, each whole', async (threads) => {
  const hashes = new HashThreads(threads);
  const descriptor = openBytes();
  const ends = [0, 1, 1000, 1 << 19, (1 << 19) + 1, bytes.length];
  const ranges = ends.flatMap((end) =>
    [0, 7].map((offset) => [Math.min(offset, end), end] as const),
  );
  const got = ranges.map(([offset, end]) =>
    hashes.sha256({ descriptor, offset, sizeBytes: end - offset }),
  );
  const wanted = ranges.map(([offset, end]) =>
    createHash('sha256').update(bytes.subarray(offset, end)).digest('hex'),
  );
  expect(await Promise.all(got)).toEqual(wanted);
});

test('a range that cannot be read to its end is an error, and the next one is hashed', async () => {
  const hashes = new HashThreads(1);
  const descriptor = openBytes();
  const range = { descriptor, offset: 0, sizeBytes: bytes.length + 1 };
  await expect(hashes.sha256(range)).rejects.toThrow(`expected ${range.sizeBytes} bytes`);
  await expect(hashes.sha256({ ...range, descriptor: 2 ** 30 })).rejects.toThrow('EBADF');
  const whole = createHash('sha256').update(bytes).digest('hex');
  expect(await hashes.sha256({ ...range, sizeBytes: bytes.length })).toBe(whole);
});

test('a program that is a module by --input-type hashes too', async () => {
  const path = join(temporaryFolder(), 'bytes');
  writeFileSync(path, bytes);
  const source = JSON.stringify(resolve('src/checkpoint/hash-threads.ts'));
  const contents = `
    import { openSync } from 'node:fs';
    import { HashThreads } from ${source};
    const range = { descriptor: openSync(${JSON.stringify(path)}), offset: 0, sizeBytes: ${bytes.length} };
    console.log(await new HashThreads(1).sha256(range));`;
  const stdin = { contents, resolveDir: '.' };
  const bundling = { stdin, bundle: true, platform: 'node', format: 'esm', write: false } as const;
  const program = (await build(bundling)).outputFiles[0]?.text ?? '';
  const args = ['--input-type=module', '-e', program];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect([stdout.trim(), stderr]).toEqual([createHash('sha256').update(bytes).digest('hex'), '']);
});

test('its threads end when it is closed, and what they have not done is an error', async () => {
  const linux = process.platform === 'linux';
  const threads = () => (linux ? readdirSync('/proc/self/task').length : 0);
  const descriptor = openBytes();
  const range = { descriptor, offset: 0, sizeBytes: bytes.length };
  await new HashThreads(1).sha256(range); // with what the process starts by the way
  const before = threads();
  const hashes = new HashThreads(2);
  const done = await Promise.all([hashes.sha256(range), hashes.sha256(range)]);
  expect(done[0]).toBe(done[1]);
  if (linux) expect(threads()).toBeGreaterThanOrEqual(before + 2);
  const undone = Promise.allSettled([1, 2, 3].map(() => hashes.sha256(range)));
  await hashes.close();
  expect((await undone).map(({ status }) => status)).toEqual(Array(3).fill('rejected'));
  if (linux) expect(threads()).toBe(before);
});
