import { Buffer, constants } from 'node:buffer';
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MappedBytes } from '../../../src/checkpoint/mapped-bytes.js';
import { readSafetensors } from '../../../src/checkpoint/safetensors.js';
import { testedBackends } from '../../helpers/backends.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const native = testedBackends.includes('native');

test.runIf(native).each([2, 1e6])('ranges of a file, with arrays of %d bytes', (mostBytes) => {
  const path = join(temporaryFolder(), 'file');
  const bytes = Uint8Array.from({ length: 10_000 }, (_, i) => i % 251);
  writeFileSync(path, bytes);
  const mapped = MappedBytes.open(path, bytes.length, mostBytes) as MappedBytes;
  for (const [offset, size] of [
    [0, 10],
    [4095, 4100],
    [9999, 1],
    [10_000, 0],
  ] as const) {
    expect(mapped.view(offset, size)).toEqual(bytes.subarray(offset, offset + size));
    mapped.release(offset, size);
    expect(mapped.view(offset, size)).toEqual(bytes.subarray(offset, offset + size));
  }
  expect(mapped.view(9990, 100)).toHaveLength(10);
});

/** A file whose first tensor has this many bytes, of which none is written. */
function sparseFile(fillerBytes: number): string {
  const path = join(temporaryFolder(), 'model.safetensors');
  const header = JSON.stringify({
    filler: { dtype: 'U8', shape: [fillerBytes], data_offsets: [0, fillerBytes] },
    last: { dtype: 'F32', shape: [2], data_offsets: [fillerBytes, fillerBytes + 8] },
  });
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(header.length));
  const file = openSync(path, 'w');
  writeSync(file, Buffer.concat([start, Buffer.from(header)]));
  ftruncateSync(file, 8 + header.length + fillerBytes);
  writeSync(
    file,
    new Uint8Array(Float32Array.of(1, -2).buffer),
    0,
    8,
    8 + header.length + fillerBytes,
  );
  closeSync(file);
  return path;
}

test.each([false, true])('a file larger than an array may be (unmapped %s)', async (unmapped) => {
  const fillerBytes = 4.5 * 2 ** 30;
  const file = await readSafetensors(sparseFile(fillerBytes), { unmapped });
  expect(file.floats('last')).toEqual(Float32Array.of(1, -2));
  file.release('last');
  expect(file.floats('last')).toEqual(Float32Array.of(1, -2));
  if (fillerBytes > constants.MAX_LENGTH) {
    expect(() => file.bytes('filler')).toThrow(/filler must have at most .* bytes under Node/);
  }
  file.close();
});
