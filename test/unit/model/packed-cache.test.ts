import { createHash } from 'node:crypto';
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { beforeAll, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { PackedFileWriter, readPackedFile } from '../../../src/checkpoint/packed-file.js';
import { type LoadOptions, loadModel } from '../../../src/model/load.js';
import { packedPath } from '../../../src/model/packed-cache.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import { type PackedWeights, packedWeights } from '../../../src/tensor/backends/packed.js';
import { Weight } from '../../../src/tensor/weight.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

/** sha256 of the header, its length, `llmkpack`. */
const TRAILER_BYTES = 48;
const compute = { choice: 'bf16', use: 'generate' } as const;
const weights = 'model.safetensors';

beforeAll(() => useBackend('native', { device: 'cpu' }));

/** A step of the file system's clock, and more: what has only just been written is not kept. */
const CLOCK_STEP_MS = 50;

/** A copy of the bundled bf16 model, whose table of tokens is its head too. */
async function modelFolder(): Promise<string> {
  const folder = temporaryFolder();
  for (const name of ['config.json', weights]) {
    cpSync(join('fixtures', 'models', 'tales-2m', name), join(folder, name));
    // Whole seconds: the time of writing can be set back exactly, the nanoseconds of others cannot.
    utimesSync(join(folder, name), 1e9, 1e9);
  }
  await setTimeout(CLOCK_STEP_MS);
  return folder;
}

/** Loads a model; returns what all its weights are packed to, and what was warned of. */
async function load(folder: string, options: LoadOptions = {}, meanwhile = () => {}) {
  const warnings: string[] = [];
  const onWarning = (text: string) => warnings.push(text);
  const checkpoint = await openCheckpoint(folder);
  meanwhile();
  const model = await loadModel(checkpoint, { compute, cachePacked: true, onWarning, ...options });
  const parts = [...model.linears].flatMap(([name, { weight }]) => {
    if (!(weight instanceof Weight) || weight.compute === 'f32') return [];
    const { form, bytes } = (packedWeights() as PackedWeights).partsOf(weight);
    return [[name, { form, sha256: createHash('sha256').update(bytes).digest('hex') }] as const];
  });
  model.dispose();
  checkpoint.close();
  return { parts: Object.fromEntries(parts), warnings };
}

const plain = (folder: string) => load(folder, { cachePacked: false });

test('a second load maps what the first has packed', async () => {
  const folder = await modelFolder();
  const { parts } = await plain(folder);
  expect(Object.keys(parts).length).toBeGreaterThan(10);
  expect(await load(folder)).toEqual({ parts, warnings: [] });
  expect(readdirSync(folder).sort()).toEqual(['config.json', weights, 'packed-bf16.llmkit']);
  const made = statSync(packedPath(folder, 'bf16'));
  expect(await load(folder)).toEqual({ parts, warnings: [] });
  expect(statSync(packedPath(folder, 'bf16')).ino).toBe(made.ino);
});

interface Header {
  layout: number;
  source: string;
  weights: { name: string; offset: number; size_bytes: number; form: Record<string, unknown> }[];
}

/** Writes a sound file's header anew. */
function rewrite(path: string, change: (header: Header, first: Header['weights'][0]) => void) {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(bytes.length - 16));
  const end = bytes.length - TRAILER_BYTES - length;
  const header: Header = JSON.parse(bytes.toString('utf8', end, end + length));
  change(header, header.weights[0] as Header['weights'][0]);
  writeWith(path, bytes.subarray(0, end), Buffer.from(JSON.stringify(header)));
}

function writeWith(path: string, data: Uint8Array, header: Uint8Array, length = header.length) {
  const trailer = Buffer.alloc(TRAILER_BYTES);
  createHash('sha256').update(header).digest().copy(trailer);
  trailer.writeBigUInt64LE(BigInt(length), 32);
  trailer.write('llmkpack', 40);
  writeFileSync(path, Buffer.concat([data, header, trailer]));
}

const broken: Record<string, [damage: (path: string) => void, reason: RegExp]> = {
  'an empty file': [(path) => writeFileSync(path, ''), /cut off/],
  'a file without its end': [
    (path) => writeFileSync(path, readFileSync(path).subarray(0, -1)),
    /cut off/,
  ],
  'half a file': [
    (path) => writeFileSync(path, readFileSync(path).subarray(0, statSync(path).size / 2)),
    /cut off/,
  ],
  'a header longer than the file': [
    (path) => writeWith(path, Buffer.alloc(8), Buffer.from('{}'), 2 ** 40),
    /said to have 1099511627776 bytes/,
  ],
  'a changed letter in the header': [
    (path) => {
      const bytes = readFileSync(path);
      bytes.write('f', bytes.lastIndexOf('bf16'));
      writeFileSync(path, bytes);
    },
    /header is damaged/,
  ],
  'a header that is no JSON': [
    (path) => writeWith(path, Buffer.alloc(8), Buffer.from([0xff, 0xfe])),
    /no JSON/,
  ],
  'a header of something else': [
    (path) => writeWith(path, Buffer.alloc(8), Buffer.from('[]')),
    /broken at the start/,
  ],
  'another layout': [(path) => rewrite(path, (header) => header.layout++), /layout 2/],
  'another checkpoint': [
    (path) => rewrite(path, (header) => Object.assign(header, { source: 'x' })),
    /checkpoint is another/,
  ],
  'a weight beyond the end': [
    (path) => rewrite(path, (_, first) => Object.assign(first, { offset: 2 ** 40 })),
    /bytes at 1099511627776/,
  ],
  'a weight between pages': [
    (path) => rewrite(path, (_, first) => Object.assign(first, { offset: first.offset + 64 })),
    /bytes at 64/,
  ],
  'a size beyond the end': [
    (path) => rewrite(path, (_, first) => Object.assign(first, { size_bytes: 2 ** 52 })),
    /is said to be/,
  ],
  'fewer bytes than the form needs': [
    (path) => rewrite(path, (_, first) => first.size_bytes--),
    /bytes/,
  ],
  'swapped shapes': [
    (path) =>
      rewrite(path, (_, { form }) => Object.assign(form, { rows: form.cols, cols: form.rows })),
    /must be \[/,
  ],
  'a fraction of a row': [
    (path) => rewrite(path, (_, { form }) => Object.assign(form, { rows: 0.5 })),
    /broken at weights\.0\.form\.rows/,
  ],
  'groups that nobody packs': [
    (path) => rewrite(path, (_, { form }) => Object.assign(form, { group: 4, scales: 'f32' })),
    /no weight is packed in this form/,
  ],
  'a missing weight': [(path) => rewrite(path, (header) => header.weights.shift()), /got none/],
};

test.each(Object.entries(broken))('%s is not used and made anew', async (_, [damage, reason]) => {
  const folder = await modelFolder();
  const { parts } = await load(folder);
  damage(packedPath(folder, 'bf16'));
  const { parts: got, warnings } = await load(folder);
  expect(warnings).toEqual([expect.stringMatching(reason)]);
  expect(got).toEqual(parts);
  expect(await load(folder)).toEqual({ parts, warnings: [] });
});

/** Changes a byte in place, and sets the time of writing back. */
function changeInPlace(path: string): void {
  const { atime, mtime, size } = statSync(path);
  const file = openSync(path, 'r+');
  writeSync(file, Buffer.from([1, 2]), 0, 2, size / 2);
  closeSync(file);
  utimesSync(path, atime, mtime);
}

test('a changed checkpoint is packed anew, whatever its times say', async () => {
  const folder = await modelFolder();
  const before = await load(folder);
  changeInPlace(join(folder, weights));
  const { parts } = await plain(folder);
  expect(parts).not.toEqual(before.parts);
  const { parts: got, warnings } = await load(folder);
  expect(got).toEqual(parts);
  expect(warnings).toEqual([expect.stringMatching('the checkpoint is another')]);
});

test('a checkpoint that is changed while it is read is not kept', async () => {
  const folder = await modelFolder();
  const { warnings } = await load(folder, {}, () => changeInPlace(join(folder, weights)));
  expect(warnings).toEqual([expect.stringMatching('has just been changed')]);
  expect(readdirSync(folder).sort()).toEqual(['config.json', weights]);
});

test('a folder that takes no file is a warning', async () => {
  const folder = await modelFolder();
  mkdirSync(join(packedPath(folder, 'bf16'), 'in the way'), { recursive: true });
  const { parts, warnings } = await load(folder);
  expect(warnings).toEqual([
    expect.stringMatching('it is not a file'),
    expect.stringMatching('cannot be written'),
  ]);
  expect(parts).toEqual((await plain(folder)).parts);
  expect(readdirSync(folder)).toHaveLength(3);
});

test('where nothing is packed, a warning says so', async () => {
  const folder = await modelFolder();
  const { warnings } = await load(folder, { compute: { choice: 'auto', use: 'exact' } });
  expect(warnings).toEqual([expect.stringMatching('nothing is packed for products in float32')]);
  const quantize = async () => undefined;
  const onLoad = await load(folder, { quantize });
  expect(onLoad.warnings).toEqual([expect.stringMatching('quantized on load are not kept')]);
  expect(readdirSync(folder)).toHaveLength(2);
});

test('a file that was not finished is not there', async () => {
  const folder = temporaryFolder();
  const path = packedPath(folder, 'bf16');
  const origin = { layout: 1, source: 'here' };
  const writer = await PackedFileWriter.create(path);
  const form = { format: 'bf16', compute: 'bf16', rows: 1, cols: 32, group: 0 } as const;
  await writer.add('w', {
    form: { ...form, scales: 'none', zeros: false },
    bytes: Buffer.alloc(9),
  });
  expect(readPackedFile(path, origin)).toBeUndefined();
  expect(readdirSync(folder)).toHaveLength(1);
  await writer.abort();
  expect(readdirSync(folder)).toEqual([]);
});

test('a file is removed when the process ends before it is finished, not after', async () => {
  const folder = temporaryFolder();
  const path = packedPath(folder, 'bf16');
  const known = process.listeners('exit');
  const endings = () => process.listeners('exit').filter((listener) => !known.includes(listener));
  await PackedFileWriter.create(path);
  expect(readdirSync(folder)).toHaveLength(1);
  for (const end of endings()) end.call(process, 0);
  expect(readdirSync(folder)).toEqual([]);
  const before = endings().length;
  await (await PackedFileWriter.create(path)).finish({ layout: 1, source: 'here' });
  await (await PackedFileWriter.create(path)).abort();
  expect(endings()).toHaveLength(before);
  expect(readdirSync(folder)).toHaveLength(1);
});

test('what killed processes left beside the file is removed, and nothing else', async () => {
  const folder = await modelFolder();
  const others = ['.packed-bf16.llmkit.1.tmp', '.packed-int8.llmkit.2.tmp', '.other.tmp'];
  for (const name of others) writeFileSync(join(folder, name), '');
  const abandoned = '.packed-bf16.llmkit.3.tmp';
  writeFileSync(join(folder, abandoned), '');
  const now = Date.now() / 1000;
  utimesSync(join(folder, abandoned), now - 7200, now - 7200);
  utimesSync(join(folder, '.other.tmp'), now - 7200, now - 7200);
  await load(folder);
  const names = ['config.json', weights, 'packed-bf16.llmkit', ...others];
  expect(readdirSync(folder).sort()).toEqual(names.sort());
});
