import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSafetensors } from '../../../src/checkpoint/safetensors.js';
import { sharedData } from '../../helpers/shared-data.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

/** Bytes of a file with this header text and data. */
function fileOf(header: string | Uint8Array, data = 0, length?: bigint): Buffer {
  const text = Buffer.from(header as string);
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([start, text, Buffer.alloc(data)]);
}

const entry = (offsets: string, shape = '[1]', dtype = 'F32') =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;

async function open(bytes: Uint8Array) {
  const path = join(temporaryFolder(), 'x.safetensors');
  writeFileSync(path, bytes);
  return readSafetensors(path);
}

const malformed = sharedData('safetensors-malformed');
if (malformed) {
  const { cases } = JSON.parse(readFileSync(join(malformed, 'verdicts.json'), 'utf8'));
  describe('gives the verdicts of the safetensors library', () => {
    const files = readdirSync(malformed).filter((name) => name.endsWith('.safetensors'));
    test.each(files)('%s', async (name) => {
      const verdict = cases[basename(name, '.safetensors')];
      const opened = readSafetensors(join(malformed, name));
      if (!verdict.ok) {
        await expect(opened).rejects.toMatchObject({
          code: 'checkpoint',
          message: expect.stringContaining(name),
        });
        return;
      }
      const file = await opened;
      expect([...file.tensors.keys()].sort()).toEqual([...verdict.keys].sort());
      expect(file.metadata).toEqual(verdict.metadata ?? {});
      for (const tensor of file.tensors.values()) {
        expect(file.bytes(tensor.name).length).toBe(tensor.sizeBytes);
      }
      file.close();
      expect(() => file.bytes(verdict.keys[0] ?? 'a')).toThrow(/after close|found none/);
    });
  });
}

describe('refuses what a hostile file may hold', () => {
  test.each<[string, Uint8Array, RegExp]>([
    [
      'a tensor twice',
      fileOf(`{"a":${entry('[0,4]')},"a":${entry('[0,4]')}}`, 4),
      /duplicate key "a"/,
    ],
    [
      'a field twice',
      fileOf(`{"a":{"dtype":"F32","dtype":"I8","shape":[1],"data_offsets":[0,4]}}`, 4),
      /duplicate/,
    ],
    [
      'an escaped key twice',
      fileOf(`{"a":${entry('[0,4]')},"\\u0061":${entry('[0,4]')}}`, 4),
      /duplicate/,
    ],
    [
      'tensors that overlap',
      fileOf(`{"a":${entry('[0,4]')},"b":${entry('[2,6]')}}`, 6),
      /tensor b/,
    ],
    ['a gap', fileOf(`{"a":${entry('[0,4]')},"b":${entry('[8,12]')}}`, 12), /tensor b/],
    ['offsets past the end', fileOf(`{"a":${entry('[0,4]')}}`, 2), /expected \d+ bytes, got \d+/],
    [
      'a length of 2^63',
      fileOf('{}', 0, 2n ** 63n),
      /at most 100000000 bytes, got 9223372036854775808/,
    ],
    ['a length of 2^53', fileOf('{}', 0, 2n ** 53n), /at most 100000000/],
    [
      'a shape of 2^64',
      fileOf(`{"a":${entry('[0,0]', '[4294967296,4294967296,0.0]')}}`),
      /list of integers/,
    ],
    [
      'a size of 2^80',
      fileOf(`{"a":${entry('[0,0]', '[1099511627776,1099511627776]')}}`),
      /expected .* bytes for F32/,
    ],
    [
      'an overflow that a zero hides',
      fileOf(`{"a":${entry('[0,0]', '[1099511627776,1099511627776,0]')}}`),
      /tensor a/,
    ],
    [
      'a huge integer',
      fileOf(`{"a":${entry('[0,4]', '[99999999999999999999]')}}`, 4),
      /list of integers/,
    ],
    ['a negative size', fileOf(`{"a":${entry('[0,4]', '[-1]')}}`, 4), /list of integers/],
    ['a size with an exponent', fileOf(`{"a":${entry('[0,4]', '[1e0]')}}`, 4), /list of integers/],
    ['three offsets', fileOf(`{"a":${entry('[0,4,8]')}}`, 4), /two integers/],
    ['half a byte', fileOf(`{"a":${entry('[0,1]', '[1]', 'F4')}}`, 1), /tensor a/],
    ['bytes that are not UTF-8', fileOf(Buffer.from([0x7b, 0xff, 0x7d])), /UTF-8/],
    ['half a surrogate pair', fileOf(`{"\\ud800":${entry('[0,4]')}}`, 4), /surrogate/],
    ['a list', fileOf('[]'), /JSON object/],
    ['space before the header', fileOf(' {}'), /JSON object/],
    ['text after the header', fileOf('{} x'), /after the value/],
    ['deep nesting', fileOf('['.repeat(100_000)), /nesting/],
    ['a string without an end', fileOf(`{"${'a'.repeat(1_000_000)}`), /without an end/],
    ['metadata that is no text', fileOf('{"__metadata__":{"a":1}}'), /__metadata__/],
  ])('%s', async (_, bytes, message) => {
    await expect(open(bytes)).rejects.toMatchObject({
      name: 'LlmkitError',
      message: expect.stringMatching(message),
    });
  });
});

test('a truncated file is named with both sizes', async () => {
  const whole = fileOf(`{"a":${entry('[0,400]', '[100]')}}`, 400);
  const cut = open(whole.subarray(0, whole.length - 100));
  await expect(cut).rejects.toThrow(
    `x.safetensors: not a sound safetensors file: expected ${whole.length} bytes, got ${whole.length - 100}`,
  );
});

test('a missing file is named', async () => {
  await expect(readSafetensors('/nowhere/x.safetensors')).rejects.toThrow(
    '/nowhere/x.safetensors: cannot be opened: no such file',
  );
});

test('a folder is not read as a file', async () => {
  await expect(readSafetensors(temporaryFolder())).rejects.toThrow(/expected a file/);
});

test('a missing tensor is named with its file', async () => {
  const file = await open(fileOf('{}'));
  expect(() => file.floats('model.norm.weight')).toThrow(
    /x\.safetensors: expected a tensor named model\.norm\.weight/,
  );
});

test('a dtype without use here is recognised and refused when its values are asked for', async () => {
  const file = await open(fileOf(`{"a":${entry('[0,1]', '[1]', 'F8_E4M3')}}`, 1));
  expect(file.tensors.get('a')?.dtype).toBe('F8_E4M3');
  expect(() => file.floats('a')).toThrow(/got F8_E4M3/);
});
