import { cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { identityOf } from '../../../src/checkpoint/identity.js';
import { CheckpointWriter, toDtype } from '../../../src/checkpoint/writer.js';
import { dequantize } from '../../../src/tensor/weight.js';
import { sharedData } from '../../helpers/shared-data.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const WEIGHTS = {
  'a.weight': { dtype: 'F16', shape: [2, 3], values: [1, 2, 3, 4, 5, 6] },
  'b.weight': { dtype: 'BF16', shape: [2, 2], values: [1, -2, 0.5, 4] },
  'c.bias': { dtype: 'F32', shape: [3], values: [0.5, 1, 2] },
} as const;

/** A small checkpoint, in as many shards as the limit makes. */
async function smallCheckpoint(options: { maxShardBytes?: number; config?: object } = {}) {
  const folder = temporaryFolder();
  const tensors = Object.entries(WEIGHTS).map(([name, tensor]) => ({ name, ...tensor }));
  const writer = new CheckpointWriter(folder, tensors, options);
  for (const { name, dtype, values } of tensors) {
    await writer.write(name, toDtype(Float32Array.from(values), dtype));
  }
  await writer.finish();
  writeFileSync(join(folder, 'config.json'), JSON.stringify(options.config ?? { model_type: 'x' }));
  return folder;
}

test.each([Infinity, 8])(
  'reads tensors, values and matrices (at most %d bytes a shard)',
  async (maxShardBytes) => {
    const checkpoint = await openCheckpoint(await smallCheckpoint({ maxShardBytes }));
    expect([...checkpoint.tensors.keys()].sort()).toEqual(Object.keys(WEIGHTS));
    expect(checkpoint.config.model_type).toBe('x');
    expect([...checkpoint.floats('c.bias')]).toEqual([0.5, 1, 2]);
    const matrix = checkpoint.matrix('b');
    expect(matrix).toMatchObject({ format: 'bf16', rows: 2, cols: 2 });
    expect([...dequantize(matrix)]).toEqual([1, -2, 0.5, 4]);
    expect(() => checkpoint.matrix('c')).toThrow(/expected a tensor named c\.weight/);
    expect(checkpoint.quantized.size).toBe(0);
    checkpoint.close();
  },
);

test('identity does not depend on sharding, but on every name, dtype, shape and byte', async () => {
  const identify = async (folder: string) => {
    const checkpoint = await openCheckpoint(folder);
    try {
      return await identityOf(checkpoint);
    } finally {
      checkpoint.close();
    }
  };
  const folder = await smallCheckpoint();
  const identity = await identify(folder);
  expect(identity).toMatch(/^[\da-f]{64}$/);
  expect(await identify(await smallCheckpoint({ maxShardBytes: 8, config: { other: 1 } }))).toBe(
    identity,
  );
  const path = join(folder, 'model.safetensors');
  const bytes = readFileSync(path);
  for (const [from, to] of [
    ['a.weight', 'd.weight'],
    ['[2,3]', '[3,2]'],
    ['"F16"', '"I16"'],
  ] as const) {
    writeFileSync(path, bytes.toString('latin1').replace(from, to), 'latin1');
    expect(await identify(folder)).not.toBe(identity);
  }
  bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
  writeFileSync(path, bytes);
  expect(await identify(folder)).not.toBe(identity);
});

describe('says what is wrong with a folder', () => {
  const failing: [string, (folder: string) => void, RegExp][] = [
    [
      'missing',
      (f) => rmSync(f, { recursive: true }),
      /expected a folder with config\.json .* it does not exist/,
    ],
    ['no config.json', (f) => rmSync(join(f, 'config.json')), /config\.json: no such file/],
    [
      'broken config.json',
      (f) => writeFileSync(join(f, 'config.json'), '{'),
      /config\.json: not valid JSON/,
    ],
    [
      'config.json that is a list',
      (f) => writeFileSync(join(f, 'config.json'), '[]'),
      /expected a JSON object/,
    ],
    [
      'no weights',
      (f) => rmSync(join(f, 'model.safetensors')),
      /expected model\.safetensors or model\.safetensors\.index\.json, found neither/,
    ],
    [
      'truncated',
      (f) => truncateSync(join(f, 'model.safetensors'), 250),
      /model\.safetensors: .* expected \d+ bytes, got 250/,
    ],
  ];
  test.each(failing)('%s', async (_, spoil, message) => {
    const folder = await smallCheckpoint();
    spoil(folder);
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: 'checkpoint',
      message: expect.stringMatching(message),
    });
  });

  test.each(['pytorch_model.bin', 'model.pt', 'x.ckpt', 'consolidated.00.pth'])(
    'only %s',
    async (name) => {
      const folder = await smallCheckpoint();
      rmSync(join(folder, 'model.safetensors'));
      writeFileSync(join(folder, name), 'PK\x03\x04');
      await expect(openCheckpoint(folder)).rejects.toThrow(
        new RegExp(`found ${name}: .*can run code.*save_pretrained`),
      );
    },
  );
});

describe('says what is wrong with an index', () => {
  const indexed = async (change: (weightMap: Record<string, string>) => unknown) => {
    const folder = await smallCheckpoint({ maxShardBytes: 8 });
    const path = join(folder, 'model.safetensors.index.json');
    const changed = change(JSON.parse(readFileSync(path, 'utf8')).weight_map);
    writeFileSync(
      path,
      typeof changed === 'string' ? changed : JSON.stringify({ weight_map: changed }),
    );
    return openCheckpoint(folder);
  };
  const elsewhere = [
    '../x.safetensors',
    '/etc/x.safetensors',
    'a/../../x.safetensors',
    'C:\\x.safetensors',
    'a//x.safetensors',
    'x.bin',
    '',
  ];
  test.each(elsewhere)('a file outside the folder: %s', async (file) => {
    await expect(indexed((map) => ({ ...map, 'a.weight': file }))).rejects.toThrow(
      /inside the folder for a\.weight/,
    );
  });

  test('a shard that is missing', async () => {
    const file = 'model-00009-of-00003.safetensors';
    await expect(indexed((map) => ({ ...map, 'a.weight': file }))).rejects.toThrow(
      new RegExp(`${file}: cannot be opened: no such file`),
    );
  });

  test('a tensor that its shard does not hold', async () => {
    const other = (map: Record<string, string>) => ({ ...map, 'a.weight': map['b.weight'] });
    await expect(indexed(other)).rejects.toThrow(/expected a tensor named a\.weight, found none/);
  });

  test('a name twice, no map, no JSON', async () => {
    await expect(indexed(() => '{"weight_map":{"a":"x","a":"y"}}')).rejects.toThrow(
      /duplicate key "a"/,
    );
    await expect(indexed(() => '{}')).rejects.toThrow(/weight_map/);
    await expect(indexed(() => '{')).rejects.toThrow(/not a sound index/);
    await expect(indexed(() => ({ a: 3 }))).rejects.toThrow(/expected a file name for a/);
  });
});

/** Bytes of file pages that this process holds, as Linux counts them. */
function filePages(): number {
  const [, kilobytes = '0'] =
    /^RssFile:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return 1024 * Number(kilobytes);
}

if (process.platform !== 'linux') {
  process.stderr.write('skipped: the memory of hashing is read from /proc\n');
}
test.runIf(process.platform === 'linux')('hashing keeps no pages of the files', async () => {
  const folder = temporaryFolder();
  const tensor = { name: 'w', dtype: 'F32', shape: [2 ** 23] } as const;
  const writer = new CheckpointWriter(folder, [tensor]);
  await writer.write('w', new Uint8Array(2 ** 25).fill(7));
  await writer.finish();
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: 'x' }));
  const checkpoint = await openCheckpoint(folder);
  const before = filePages();
  const identity = await identityOf(checkpoint);
  expect(filePages() - before).toBeLessThan(2 ** 23);
  expect(await identityOf(checkpoint)).toBe(identity);
  checkpoint.close();
});

describe('real checkpoints', () => {
  const whole = sharedData('stories260k-hf');
  const sharded = sharedData('stories260k-hf-sharded');
  test.runIf(whole && sharded)('the sharded copy holds the same weights', async () => {
    const [a, b] = [await openCheckpoint(whole as string), await openCheckpoint(sharded as string)];
    for (const { name } of b.tensors.values()) {
      expect(Buffer.from(b.bytes(name)).equals(a.bytes(name)), name).toBe(true);
    }
    expect([...b.tensors.keys()].sort()).toEqual([...a.tensors.keys()].sort());
    expect(await identityOf(a)).toBe(await identityOf(b));
    a.close();
    b.close();
  });

  test.runIf(whole)('a truncated copy', async () => {
    const folder = join(temporaryFolder(), 'copy');
    mkdirSync(folder);
    cpSync(whole as string, folder, { recursive: true });
    truncateSync(join(folder, 'model.safetensors'), 500000);
    await expect(openCheckpoint(folder)).rejects.toThrow(
      /model\.safetensors: .* expected 1044992 bytes, got 500000/,
    );
  });
});
