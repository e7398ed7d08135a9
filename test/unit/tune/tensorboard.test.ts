import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { crc32c, EventWriter, maskedCrc32c } from '../../../src/tune/tensorboard.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

test('crc32c gives the values of RFC 3720', () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
});

/** The data of each record, its checksums verified. */
function records(bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 8)).toBe(maskedCrc32c(bytes.subarray(at, at + 8)));
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(maskedCrc32c(data));
    found.push(data);
    at += 16 + length;
  }
  return found;
}

test('writes a version, the start of the session and one event per step', () => {
  const folder = temporaryFolder();
  const writer = new EventWriter(folder, 31);
  writer.scalars(300, { 'train/loss': 1.5, 'train/lr': 0.25 });
  writer.close();
  const [name = ''] = readdirSync(folder);
  expect(name).toMatch(/^events\.out\.tfevents\.\d{10}\./);
  const [version, session, event, ...rest] = records(readFileSync(join(folder, name)));
  expect(rest).toEqual([]);
  expect(version?.subarray(9)).toEqual(Buffer.from('\x10\x00\x1a\x0dbrain.Event:2', 'latin1'));
  expect(session?.subarray(9)).toEqual(Buffer.from([0x10, 31, 0x3a, 2, 0x08, 1]));
  const value = (tag: string, number: number) => {
    const bytes = [
      0x0a,
      tag.length,
      ...Buffer.from(tag),
      0x15,
      ...new Uint8Array(Float32Array.of(number).buffer),
    ];
    return [0x0a, bytes.length, ...bytes];
  };
  const summary = [...value('train/loss', 1.5), ...value('train/lr', 0.25)];
  expect(event?.subarray(9)).toEqual(
    Buffer.from([0x10, 0xac, 0x02, 0x2a, summary.length, ...summary]),
  );
});
