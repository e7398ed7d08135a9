import { createHash } from 'node:crypto';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { hashTensors, withHashing } from '../../../src/checkpoint/identity.js';
import { CheckpointWriter } from '../../../src/checkpoint/writer.js';
import { hashRanges } from '../../../src/tensor/backends/index.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

/** Sizes that are hashed side by side, and one that is hashed alone by a thread. */
const SIZES = [...Array.from({ length: 50 }, (_, i) => 7919 * i), 3 << 20];

async function openBytes(): Promise<Checkpoint> {
  const folder = temporaryFolder();
  const specs = SIZES.map((size, i) => ({ name: `t${i}`, dtype: 'U8', shape: [size] }) as const);
  const writer = new CheckpointWriter(folder, specs);
  for (const [i, size] of SIZES.entries()) {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; at++) bytes[at] = Math.imul(at * i, 2654435761) >>> 13;
    await writer.write(`t${i}`, bytes);
  }
  await writer.finish();
  writeFileSync(join(folder, 'config.json'), '{}');
  const checkpoint = await openCheckpoint(folder);
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}

/** Zeros that take seconds to hash, and no place on the disk. */
async function openMuch(): Promise<Checkpoint> {
  const folder = temporaryFolder();
  const size = 2 ** 32;
  const header = Buffer.from(
    JSON.stringify({ zeros: { dtype: 'U8', shape: [size], data_offsets: [0, size] } }),
  );
  const headerSize = Buffer.alloc(8);
  headerSize.writeBigUInt64LE(BigInt(header.length));
  const file = join(folder, 'model.safetensors');
  writeFileSync(file, Buffer.concat([headerSize, header]));
  truncateSync(file, 8 + header.length + size);
  writeFileSync(join(folder, 'config.json'), '{}');
  const checkpoint = await openCheckpoint(folder);
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}

test('tensors of any size have the hashes of their bytes', async () => {
  const checkpoint = await openBytes();
  const wanted = [...checkpoint.tensors.values()].map(({ name, dtype, shape }) => {
    const sha256 = createHash('sha256').update(checkpoint.bytes(name)).digest('hex');
    return { name, dtype, shape, sha256 };
  });
  expect(await hashTensors(checkpoint)).toEqual(wanted);
});

test('hashing ends when the work beside it fails, and says so to whoever waits for it', async () => {
  const checkpoint = await openMuch();
  let left: Promise<unknown> | undefined;
  const work = withHashing(checkpoint, async (hashing) => {
    left = hashing;
    throw new Error('the disk is full');
  });
  await expect(work).rejects.toThrow('the disk is full');
  await expect(left).rejects.toThrow(/stopped|ended/);
});

test('the end of the process does not wait for what is left to hash', async () => {
  const checkpoint = await openBytes();
  const before = process.listeners('exit');
  await withHashing(checkpoint, async () => {
    const added = process.listeners('exit').filter((listener) => !before.includes(listener));
    expect(added).toHaveLength(hashRanges([], 1) === null ? 0 : 1);
    for (const stop of added) stop(0);
  });
  expect(process.listeners('exit')).toEqual(before);
});

test('a file that cannot be read is an error', async () => {
  const started = hashRanges([2 ** 30, 0, 10], 1);
  if (started === null) return;
  await expect(started.hashes).rejects.toThrow('Bad file descriptor');
});
