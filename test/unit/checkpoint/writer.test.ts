import { closeSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { readSafetensors } from '../../../src/checkpoint/safetensors.js';
import {
  CheckpointWriter,
  type StoredTensor,
  type TensorSpec,
  writeSafetensors,
} from '../../../src/checkpoint/writer.js';
import { LlmkitError } from '../../../src/errors.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const SPECS: TensorSpec[] = [
  { name: 'odd', dtype: 'U8', shape: [3] },
  { name: 'state', dtype: 'U8', shape: [100], atMost: true },
  { name: 'floats', dtype: 'F32', shape: [2, 2] },
  { name: 'halves', dtype: 'F16', shape: [5] },
  { name: 'long', dtype: 'I64', shape: [] },
];
const LENGTHS: Record<string, number> = { odd: 3, state: 41, floats: 16, halves: 10, long: 8 };
const bytesOf = (name: string) => new Uint8Array(LENGTHS[name] as number).fill(name.length);

async function writeAll(folder: string, options = {}) {
  const writer = new CheckpointWriter(folder, SPECS, options);
  for (const { name } of SPECS) await writer.write(name, bytesOf(name));
  return writer.finish();
}

test('one file: aligned tensors, format pt, no index', async () => {
  const folder = temporaryFolder();
  const written = await writeAll(folder);
  const path = join(folder, 'model.safetensors');
  expect(written).toEqual({ files: ['model.safetensors'], sizeBytes: readFileSync(path).length });
  const file = await readSafetensors(path);
  expect(file.metadata).toEqual({ format: 'pt' });
  for (const { name, dtype, offset, shape } of file.tensors.values()) {
    expect(file.bytes(name)).toEqual(bytesOf(name));
    expect(shape).toEqual(
      name === 'state' ? [41] : SPECS.find((spec) => spec.name === name)?.shape,
    );
    expect(offset % ({ I64: 8, F32: 4, F16: 2 }[dtype as string] ?? 1)).toBe(0);
  }
  expect(file.tensors.size).toBe(SPECS.length);
});

test('shards: each within the limit, or one tensor; the index adds up', async () => {
  const folder = temporaryFolder();
  const written = await writeAll(folder, { maxShardBytes: 104 });
  expect(written.files).toEqual([
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
    'model.safetensors.index.json',
  ]);
  expect(readdirSync(folder).sort()).toEqual([...written.files].sort());
  const sizes = written.files.map((name) => readFileSync(join(folder, name)).length);
  expect(written.sizeBytes).toBe(sizes.reduce((a, b) => a + b));
  const index = JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8'));
  expect(index.metadata.total_size).toBe(3 + 41 + 16 + 10 + 8);
  expect(Object.keys(index.weight_map).sort()).toEqual(SPECS.map(({ name }) => name).sort());
  for (const [name, shard] of Object.entries<string>(index.weight_map)) {
    const file = await readSafetensors(join(folder, shard));
    expect(file.bytes(name)).toEqual(bytesOf(name));
    file.close();
  }
});

test('a large file, whatever way it takes to the disk, has the bytes that were written', async () => {
  const folder = temporaryFolder();
  const [sizes, most] = [{ small: 5, copied: (5 << 20) + 3, large: (6 << 20) + 4097 }, 20_000];
  const specs = Object.entries(sizes).map(([name, size]): TensorSpec => {
    return { name, dtype: 'U8', shape: [size] };
  });
  const state: TensorSpec = { name: 'state', dtype: 'U8', shape: [most], atMost: true };
  const source = join(folder, 'source');
  const written = Buffer.alloc(8 << 20, 0).map((_, i) => Math.imul(i, 2654435761) >>> 13);
  writeFileSync(source, written);
  const file = openSync(source, 'r');
  onTestFinished(() => closeSync(file));
  const writer = new CheckpointWriter(folder, [...specs, state]);
  const { small, copied, large } = sizes;
  await Promise.all([
    writer.write('small', written.subarray(0, small)),
    writer.copy('copied', { descriptor: file, offset: 7, sizeBytes: copied }),
    writer.write('large', written.subarray(1, 1 + large)),
    writer.write('state', written.subarray(0, 9)),
  ]);
  const { sizeBytes } = await writer.finish();
  const path = join(folder, 'model.safetensors');
  expect(statSync(path).size).toBe(sizeBytes); // room that was not needed is given back
  const { bytes } = await readSafetensors(path).then((open) => ({
    bytes: (name: string) => Buffer.from(open.bytes(name)),
  }));
  expect(bytes('small').equals(written.subarray(0, small))).toBe(true);
  expect(bytes('copied').equals(written.subarray(7, 7 + copied))).toBe(true);
  expect(bytes('large').equals(written.subarray(1, 1 + large))).toBe(true);
  expect(bytes('state').equals(written.subarray(0, 9))).toBe(true);
});

test('a copy that ends before its tensor is refused', async () => {
  const folder = temporaryFolder();
  const source = join(folder, 'source');
  writeFileSync(source, new Uint8Array(100));
  const file = openSync(source, 'r');
  onTestFinished(() => closeSync(file));
  for (const size of [101, 9 << 20]) {
    const writer = new CheckpointWriter(temporaryFolder(), [
      { name: 'copied', dtype: 'U8', shape: [size] },
    ]);
    const copy = writer.copy('copied', { descriptor: file, offset: 0, sizeBytes: size });
    await expect(copy).rejects.toThrow(LlmkitError);
    await writer.abort();
  }
});

test('a tensor over the limit has a shard of its own', async () => {
  expect((await writeAll(temporaryFolder(), { maxShardBytes: 1 })).files).toHaveLength(
    SPECS.length + 1,
  );
});

test('refuses what was not declared, another size, a second time, and an end without all tensors', async () => {
  const writer = new CheckpointWriter(temporaryFolder(), SPECS);
  await expect(writer.write('other', bytesOf('odd'))).rejects.toThrow(/other was not declared/);
  await expect(writer.write('floats', bytesOf('odd'))).rejects.toThrow(
    /floats: expected 16 bytes, got 3/,
  );
  await expect(writer.write('state', new Uint8Array(101))).rejects.toThrow(
    /at most 100 bytes, got 101/,
  );
  await writer.write('odd', bytesOf('odd'));
  await expect(writer.write('odd', bytesOf('odd'))).rejects.toThrow(/odd is written twice/);
  await expect(writer.finish()).rejects.toThrow(/was not written/);
  await writer.abort();
  const twice = [...SPECS, SPECS[0] as TensorSpec];
  expect(() => new CheckpointWriter(temporaryFolder(), twice)).toThrow(/same name/);
});

test('bytes that are made are written before the next ones are asked for', async () => {
  const folder = temporaryFolder();
  const path = join(folder, 'training.safetensors');
  const names = ['a', 'b', 'c'];
  const tensors = names.map((name, i): [string, StoredTensor] => {
    const bytes = async () => {
      const [temporary = ''] = readdirSync(folder);
      expect(statSync(join(folder, temporary)).size).toBeGreaterThan(i * 2 ** 20);
      return new Uint8Array(2 ** 20).fill(i);
    };
    return [name, { dtype: 'U8', shape: [2 ** 20], bytes }];
  });
  await writeSafetensors(path, new Map(tensors));
  const file = await readSafetensors(path);
  for (const [i, name] of names.entries()) {
    expect(Buffer.compare(file.bytes(name), new Uint8Array(2 ** 20).fill(i))).toBe(0);
  }
});

test('a small file is whole, and no other file is left', async () => {
  const folder = temporaryFolder();
  const path = join(folder, 'adapter_model.safetensors');
  const bytes = bytesOf('floats');
  await writeSafetensors(path, new Map([['w', { dtype: 'F32', shape: [4], bytes }]]), {
    format: 'pt',
    a: 'ü',
  });
  const file = await readSafetensors(path);
  expect(file.metadata).toEqual({ format: 'pt', a: 'ü' });
  expect(file.bytes('w')).toEqual(bytes);
  const wrong = new Map([['w', { dtype: 'F32', shape: [5], bytes } as const]]);
  await expect(writeSafetensors(path, wrong)).rejects.toThrow(/w: expected 20 bytes, got 16/);
  expect(readdirSync(folder)).toEqual(['adapter_model.safetensors']);
});
