import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { writeDirect } from '../../../src/tensor/backends/native-services.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const BYTES = Uint8Array.from({ length: 9000 }, (_, i) => (i * i) % 251);

/** Where bytes are read from, and a file whose descriptors are one: then all is written as usual. */
function openFiles() {
  const folder = temporaryFolder();
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  writeFileSync(from, BYTES);
  const [source, descriptor] = [openSync(from, 'r'), openSync(to, 'w')];
  for (const open of [source, descriptor]) onTestFinished(() => closeSync(open));
  return { source, file: { descriptor, direct: descriptor }, written: () => readFileSync(to) };
}

test('bytes, and those of a file, are written where they belong', async () => {
  const { source, file, written } = openFiles();
  await writeDirect(file, 3000, { descriptor: source, offset: 3000, sizeBytes: 6000 });
  await writeDirect(file, 0, BYTES.subarray(0, 3000));
  expect(written()).toEqual(Buffer.from(BYTES));
});

test('says what is wrong', async () => {
  const { source, file } = openFiles();
  const range = { descriptor: source, offset: 3000, sizeBytes: 6001 };
  await expect(writeDirect(file, 0, range)).rejects.toThrow('the file is shorter than it was');
  const nowhere = { descriptor: 1 << 30, direct: 1 << 30 };
  await expect(writeDirect(nowhere, 0, BYTES)).rejects.toThrow('Bad file descriptor');
  expect(() => writeDirect(file, -1, BYTES)).toThrow(RangeError);
  expect(() => writeDirect(file, 0, { ...range, offset: -1 })).toThrow(RangeError);
  expect(() => writeDirect(file, 0, new Float32Array(1) as never)).toThrow(TypeError);
  expect(() => writeDirect(null as never, 0, BYTES)).toThrow(TypeError);
});
