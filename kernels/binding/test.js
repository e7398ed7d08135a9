// What the binding itself does: argument checks, mapped files, weights' lifetimes, threads, exit.
// Usage: node test.js llmkit.node
import assert from 'node:assert';
import { constants } from 'node:buffer';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

const addonPath = path.resolve(process.argv[2]);
const addon = createRequire(import.meta.url)(addonPath);
const floats = (...values) => Float32Array.from(values);

function checkLinears() {
  const y = new Float32Array(2);
  addon.linear(floats(1, 2), floats(3, 4, 5, 6), floats(10, 20), y, 2);
  assert.deepEqual(y, floats(21, 37));
  addon.mergedLinear(floats(1, 2), 2, floats(3, 4), null, floats(0), floats(5, 6, 7, 8), null, y);
  assert.deepEqual(y, floats(17, 23));
  addon.linear(floats(1, 2), floats(3, 4, 5, 6), floats(10, 20), y, 2, floats(100, 200));
  assert.deepEqual(y, floats(121, 237));
  addon.gatedLinear(
    'relu',
    floats(1, 2),
    2,
    floats(3, 4),
    null,
    y.subarray(1),
    floats(5, 6),
    null,
    floats(0),
  );
  assert.deepEqual(y, floats(121, 187));
  addon.activatedLinear('relu', floats(1, 2), floats(3, 4, -5, -6), floats(10, 2), y, 2);
  assert.deepEqual(y, floats(21, 0));
}

function checkArguments() {
  const y = new Float32Array(2);
  assert.deepEqual(loraOf({}), floats(12.5, 32));
  const bad = [
    [() => addon.linear(floats(1, 2, 3), floats(3, 4, 5, 6), null, y, 2), RangeError],
    [() => addon.linear(floats(1, 2), floats(3, 4, 5), null, y, 2), RangeError],
    [() => addon.linear(floats(1, 2), floats(3, 4, 5, 6), floats(1), y, 2), RangeError],
    [() => addon.linear(floats(1, 2), floats(3, 4, 5, 6), null, y, 0), RangeError],
    [() => addon.linear([1, 2], floats(3, 4, 5, 6), null, y, 2), TypeError],
    [() => addon.linear(floats(1, 2), {}, null, y, 2), TypeError],
    [() => addon.linear(), TypeError],
    [() => addon.linear(floats(1, 2), floats(3, 4, 5, 6), null, y, 2, floats(1)), RangeError],
    [() => addon.gatedLinear('relu', y, 2, y, null, floats(0), y, null, y), RangeError],
    [() => addon.activatedLinear('relu', y, y, null, y, 2), RangeError],
    [() => addon.activatedLinear('swish', y, y, null, floats(0), 2), RangeError],
    [() => addon.mergedLinear(floats(1, 2), 0, floats(3, 4), null, y), RangeError],
    [() => addon.mergedLinear(floats(1, 2), 2, floats(3, 4), null, y), RangeError],
    [() => addon.mergedLinear(floats(1, 2), 2, floats(3, 4, 5, 6), floats(1), y), RangeError],
    [() => addon.mergedLinear(floats(1, 2), 2, floats(3, 4, 5, 6), null), TypeError],
    [() => loraOf({ b: floats(1) }), RangeError],
    [() => loraOf({ low: floats(0, 0) }), RangeError],
    [() => loraOf({ dropped: floats(1) }), RangeError],
    [() => addon.activation('swish', y, y), RangeError],
    [() => addon.gather(y, Int32Array.of(2), floats(0), 2, 1), RangeError],
    [() => addon.gather(y, Int32Array.of(-1), floats(0), 2, 1), RangeError],
    [() => addon.sample(y, Int32Array.of(2), 2, 1, 0, 1, 0), RangeError],
    [() => addon.sample(new Float32Array(0), null, 1, 1, 0, 1, 0), RangeError],
    [() => addon.sample(y, null, 1, 1, -1, 1, 0), RangeError],
    [() => addon.scatterAdd(floats(0), Int32Array.of(2), y, 1), RangeError],
    [() => addon.transpose(y, y, [1, 2], [0, 0]), RangeError],
    [() => addon.transpose(y, y, [1, 2], [0, 5]), RangeError],
    [() => addon.setThreads(0), RangeError],
    [() => addon.alignedBuffer(0), RangeError],
    [() => addon.dropout(y, Int32Array.of(0, 0), 1, 0, 0, y), RangeError],
    [
      () =>
        addon.crossEntropy(y, floats(1, 2), null, Int32Array.of(1), floats(0), floats(0), 2, false),
      RangeError,
    ],
    [() => addon.roundedLinear(floats(1, 2), floats(3, 4, 5), null, y, 2), RangeError],
    [() => addon.roundedLinear(floats(1, 2), floats(3, 4, 5, 6), floats(1), y, 2), RangeError],
    [() => addon.roundedLinearGradInput(floats(1), floats(3, 4, 5, 6), y, 2), RangeError],
    [() => addon.roundedLinearGradWeight(floats(1, 2), floats(1, 2), y, 2), RangeError],
    [() => attendTo(1), RangeError],
    [() => addon.matmul(y, y, y, 1, 1, 2 ** 32, 2 ** 32, 2 ** 32, false, false), RangeError],
  ];
  for (const [call, error] of bad) assert.throws(call, error, String(call));
  attendTo(0);
}

/** LoRA of rank 1 beside a 2 x 2 matrix, with some of the arrays replaced. @returns y */
function loraOf({ dropped = floats(1, 2), b = floats(1, 10), low = floats(0) }) {
  const [matrix, a, y] = [floats(3, 4, 5, 6), floats(1, 1), floats(0, 0)];
  addon.loraLinear(floats(1, 2), dropped, matrix, a, b, 0.5, null, y, low, 2);
  return y;
}

/** Attention of one query to keys 0..last of one. */
function attendTo(last) {
  const one = floats(1);
  const range = [Int32Array.of(0), Int32Array.of(last)];
  addon.attention(
    one,
    one,
    one,
    ...range,
    null,
    floats(0),
    null,
    [1, 1, 1, 1, 1, 1],
    1,
    0,
    false,
    false,
  );
}

function checkCaches() {
  const size = 1024;
  const cache = addon.createKvCache(1, 1, size, 'bf16');
  const step = (position, last, shape = [1, 1, 1, 1, 1, size]) => {
    const [y, q, v] = [0, 1, 3].map((value) => new Float32Array(size).fill(value));
    const range = [Int32Array.of(0), Int32Array.of(last)];
    const place = [cache, Int32Array.of(position), null, null];
    const bytes = addon.cachedAttention(q, q, v, ...range, null, y, ...place, shape, 1, 0);
    return { value: y[0], bytes };
  };
  assert.equal(step(0, 0).value, 3);
  const { bytes } = step(1, 1);
  assert.equal(addon.selectKvRows(cache, Int32Array.of(0)), bytes);
  const bad = [
    () => step(0, 1),
    () => step(-1, 0),
    () => step(2 ** 31 - 1, 0),
    () => step(0, 0, [1, 1, 2, 1, 1, size]),
    () => step(0, 0, [1, 1, 1, 1, 1, 1]),
    () => addon.selectKvRows(cache, Int32Array.of(1)),
    () => addon.createKvCache(1, 0, 1, 'f32'),
    () => addon.createKvCache(1, 1, 2 ** 40, 'f32'),
    () => addon.createKvCache(1, 1, 1, 'int4'),
  ];
  for (const call of bad) assert.throws(call, RangeError, String(call));
  assert.throws(() => addon.selectKvRows({}, Int32Array.of(0)), TypeError);
  addon.disposeKvCache(cache);
  assert.throws(() => step(0, 0), RangeError);
}

function checkMapping(folder) {
  const file = path.join(folder, 'weights');
  writeFileSync(file, Uint8Array.of(0, 0x80, 0x3f, 0, 0x40, 0, 0));
  const buffer = addon.mapFile(file);
  assert.equal(buffer.byteLength, 7);
  const codes = new Uint8Array(buffer, 1, 4); // bf16 1 and 2, at an odd address
  const weight = addon.createWeight({ format: 'bf16', rows: 1, cols: 2, codes });
  const y = new Float32Array(2);
  addon.dequantizeRows(weight, Int32Array.of(0), y);
  assert.deepEqual(y, floats(1, 2));
  assert.throws(() => addon.dequantizeRows(weight, Int32Array.of(1), y), RangeError);
  addon.disposeWeight(weight);
  assert.throws(() => addon.dequantizeRows(weight, Int32Array.of(0), y), RangeError);
  assert.deepEqual(new Uint8Array(addon.mapFile(file, 2, 3)), Uint8Array.of(0x3f, 0, 0x40));
  assert.equal(addon.mapFile(file, 5, 9).byteLength, 2);
  assert.throws(() => addon.mapFile(file, -1, 9), RangeError);
  truncateSync(file, 5 * 2 ** 30); // more than an array of Node.js 20 holds
  if (constants.MAX_LENGTH < 5 * 2 ** 30) assert.throws(() => addon.mapFile(file));
  else assert.equal(addon.mapFile(file).byteLength, 5 * 2 ** 30);
  writeFileSync(file, '');
  assert.equal(addon.mapFile(file).byteLength, 0);
  assert.throws(() => addon.mapFile(path.join(folder, 'none')), /none: No such file/);
}

/** Parts that are put together again, and parts that do not fit. */
function checkPackedWeights(file) {
  const codes = new Uint8Array(8).fill(0x9a);
  const data = { format: 'int4', rows: 2, cols: 8, codes, groupSize: 8, scales: floats(1, 2) };
  const packed = addon.createWeight(data, 'bf16');
  const { form, bytes } = addon.packedParts(packed);
  writeFileSync(file, Buffer.concat([bytes, Buffer.alloc(1)]));
  const mapped = new Uint8Array(addon.mapFile(file)).subarray(0, bytes.length);
  const kept = addon.usePacked(form, mapped);
  const [x, before, after] = [floats(1, 2, 3, 4, 5, 6, 7, 8), floats(0, 0), floats(0, 0)];
  addon.linear(x, packed, null, before, 8);
  addon.linear(x, kept, null, after, 8);
  assert.deepEqual(after, before);
  addon.disposeWeight(kept);
  assert.deepEqual(Buffer.from(mapped), Buffer.from(bytes)); // the pages come back
  for (const change of [
    { format: 'q4' },
    { rows: 1.5 },
    { rows: 32 },
    { group: 5 },
    { scales: 'f32' },
  ])
    assert.throws(() => addon.usePacked({ ...form, ...change }, mapped), RangeError);
  assert.throws(() => addon.usePacked(form, mapped.subarray(1)), RangeError);
  const shifted = new Uint8Array(addon.mapFile(file)).subarray(1);
  assert.throws(() => addon.usePacked(form, shifted), RangeError);
  assert.throws(() => addon.usePacked(null, mapped), TypeError);
  assert.throws(() => addon.packedParts(addon.createWeight(data)), RangeError);
  assert.throws(() => addon.hasRows(kept), RangeError); // disposed of
  assert.equal(addon.hasRows(packed), true);
  const row = new Float32Array(8);
  addon.dequantizeRows(addon.usePacked(form, mapped), Int32Array.of(1), row);
  assert.deepEqual(row, floats(4, 2, 4, 2, 4, 2, 4, 2)); // (10 - 8) · 2, (9 - 8) · 2
  assert.throws(() => addon.dequantizeRows(packed, Int32Array.of(2), row), RangeError);
  assert.ok(addon.packedLayout() > 0);
}

/** Many at once, beside JavaScript, have the bytes of createWeight; the pool's threads are shared. */
async function checkPacking() {
  const [rows, cols, groupSize] = [80, 96, 32];
  const weightOf = (i) => {
    const codes = Uint8Array.from({ length: (rows * cols) / 2 }, (_, k) => (7 * k + i) & 255);
    const scales = Float32Array.from({ length: (rows * cols) / groupSize }, (_, k) => k + i);
    return { format: 'int4', rows, cols, groupSize, codes, scales };
  };
  const handles = await Promise.all(
    Array.from({ length: 9 }, (_, i) => addon.packWeight(weightOf(i), 'int8')),
  );
  for (const [i, handle] of handles.entries()) {
    const expected = addon.packedParts(addon.createWeight(weightOf(i), 'int8'));
    assert.deepEqual(addon.packedParts(handle), expected);
    addon.disposeWeight(handle);
  }
  assert.throws(() => addon.packWeight(weightOf(0), 'f32'), RangeError);
  assert.throws(() => addon.packWeight({ ...weightOf(0), rows: 81 }, 'int8'), RangeError);
  assert.throws(() => addon.packWeight(null, 'int8'), TypeError);
}

/**
 * A weight whose packed form no machine has the memory for, 32 times as large as its codes: these are
 * a file without contents. Only where the system refuses what it cannot give.
 */
async function checkNoMemory(file) {
  const size = 2 ** 31;
  const overcommits = () => readFileSync('/proc/sys/vm/overcommit_memory', 'utf8').startsWith('1');
  if (process.platform !== 'linux' || totalmem() > 16 * size || overcommits()) return;
  writeFileSync(file, '');
  truncateSync(file, size);
  const codes = new Uint8Array(addon.mapFile(file));
  const weight = { format: 'bf16', rows: size / 2, cols: 1, codes };
  assert.throws(() => addon.createWeight(weight, 'bf16'), /^Error: createWeight: no memory for /);
  await assert.rejects(addon.packWeight(weight, 'bf16'), /^Error: packWeight: no memory for /);
}

function checkWeights() {
  const codes = new Uint8Array(4);
  const good = { format: 'nf4', rows: 2, cols: 4, codes, groupSize: 4, scales: floats(1, 2) };
  addon.disposeWeight(addon.createWeight(good));
  assert.equal(addon.hasRows(addon.createWeight(good)), true);
  const packed = addon.createWeight(good, 'int8'); // such small groups are rounded to bf16
  assert.equal(addon.hasRows(packed), false);
  assert.throws(
    () => addon.dequantizeRows(packed, Int32Array.of(0), floats(0, 0, 0, 0)),
    RangeError,
  );
  addon.disposeWeight(packed);
  assert.throws(() => addon.createWeight(good, 'fp8'), RangeError);
  for (const change of [
    { format: 'q4' },
    { rows: 3 },
    { rows: -1 },
    { rows: 2 ** 40, cols: 2 ** 40 },
    { groupSize: 0 },
    { groupSize: 2 },
    { scales: floats(1) },
    { zeros: new Uint8Array(1) },
    {
      scales: {
        codes: new Uint8Array(2),
        map: floats(1),
        absmax: floats(1),
        blockSize: 2,
        offset: 0,
      },
    },
  ])
    assert.throws(() => addon.createWeight({ ...good, ...change }), RangeError);
  assert.throws(() => addon.createWeight({ ...good, scales: undefined }), TypeError);
}

/** Work beside JavaScript: what it fills, what it keeps from being disposed of, what it refuses. */
async function checkQuantization() {
  const values = (rows) => {
    const codes = new Uint8Array(floats(-7.5, 0, 1, 7.5, 3, 3, 3, 3).buffer);
    return addon.createWeight({ format: 'f32', rows, cols: 8 / rows, codes }, 'f32');
  };
  const data = {
    format: 'int4',
    rows: 2,
    cols: 4,
    groupSize: 4,
    codes: new Uint8Array(4),
    scales: new Float32Array(2),
  };
  const quantized = addon.createWeight(data, 'f32');
  const done = addon.quantize(values(2), quantized, 'f32', 'rtn');
  assert.throws(() => addon.disposeWeight(quantized), RangeError);
  const [errors, squares] = await done;
  assert.deepEqual(data.scales, floats(1, Math.fround(3 / 7.5)));
  assert.deepEqual(data.codes, Uint8Array.of(0x80, 0xf9, 0xff, 0xff));
  assert.ok(squares > 148 && squares < 149.6 && errors > 0.4 && errors < 0.7, `${errors}`);
  assert.deepEqual(await addon.quantizationError(values(2), quantized), [errors, squares]);
  const bad = [
    () => addon.quantize(values(1), quantized, 'f32', 'rtn'),
    () => addon.quantize(quantized, quantized, 'f32', 'rtn'),
    () => addon.quantize(values(2), values(2), 'f32', 'rtn'),
    () => addon.quantize(values(2), quantized, 'f64', 'rtn'),
    () => addon.quantize(values(2), quantized, 'f32', 'gptq'),
    () => addon.quantize(values(2), addon.createWeight(data, 'bf16'), 'f32', 'rtn'),
  ];
  for (const call of bad) assert.throws(call, RangeError, String(call));
  assert.throws(() => addon.quantize(values(2)), TypeError);
  addon.disposeWeight(quantized);
  assert.throws(() => addon.quantize(values(2), quantized, 'f32', 'rtn'), RangeError);
}

async function checkHashing() {
  const descriptor = openSync(addonPath, 'r');
  const started = addon.hashRanges([descriptor, 5, 100, descriptor, 0, 0], 2);
  if (started !== null) {
    const wanted = [readFileSync(addonPath).subarray(5, 105), Buffer.alloc(0)].map((bytes) =>
      createHash('sha256').update(bytes).digest('hex'),
    );
    assert.deepEqual(await started.hashes, wanted);
    assert.throws(() => addon.hashRanges([descriptor, 0], 1), RangeError);
    assert.throws(() => addon.hashRanges([descriptor, 0, 1], 0), RangeError);
    assert.throws(() => addon.hashRanges(1, 1), TypeError);
    const stopped = addon.hashRanges([descriptor, 0, 1e5], 1);
    started.stop(); // too late to matter
    stopped.stop();
    await stopped.hashes.catch((error) => assert.match(error.message, /it was stopped/));
  }
  closeSync(descriptor);
}

/** Calls are made again on what their arrays hold then, until a handle among them is disposed of. */
function checkRecordings() {
  const x = Float32Array.of(1, 2);
  const y = new Float32Array(2);
  const ids = new Int32Array(1);
  const codes = new Uint8Array(floats(1, 2, 3, 4).buffer);
  const table = addon.createWeight({ format: 'f32', rows: 2, cols: 2, codes }, 'f32');
  const step = (id) => {
    ids[0] = id;
    addon.dequantizeRows(table, ids, y);
    addon.binary('add', y, x, y, 2, 'full', 'full');
  };
  addon.beginRecording();
  assert.throws(() => addon.beginRecording(), RangeError);
  step(1);
  const recording = addon.endRecording();
  assert.deepEqual([...y], [4, 6]);
  ids[0] = 0;
  x[0] = 10;
  assert.equal(addon.replay(recording), true);
  assert.deepEqual([...y], [11, 4]);
  ids[0] = 2;
  assert.throws(() => addon.replay(recording), RangeError);
  assert.throws(() => addon.replay({}), TypeError);

  addon.beginRecording();
  step(1);
  addon.argmax(x, ids, 2);
  assert.equal(addon.endRecording(), null, 'argmax is not made again');
  assert.equal(addon.endRecording(), null, 'none is under way');
  addon.disposeWeight(table);
  assert.equal(addon.replay(recording), false);
}

/** A large sum on all threads. */
const bigWork = `
  const addon = require(${JSON.stringify(addonPath)});
  addon.setThreads(4);
  const x = new Float32Array(1 << 20).fill(1);
  const y = new Float32Array(1 << 10);
  for (let i = 0; i < 20; ++i) {
    addon.reduce('sum', x, y, 1 << 10, 1);
    if (y.some((sum) => sum !== 1 << 10)) throw new Error('sum');
  }
`;

/** Several JavaScript threads use the one pool. */
async function checkWorkers() {
  const workers = [1, 2, 3].map(() => new Worker(bigWork, { eval: true }));
  const codes = workers.map((worker) => new Promise((done) => worker.on('exit', done)));
  assert.deepEqual(await Promise.all(codes), [0, 0, 0]);
}

function runNode(program, env = {}) {
  return spawnSync(process.execPath, ['-e', program], {
    env: { ...process.env, ...env },
    timeout: 20000,
    encoding: 'utf8',
  });
}

function checkProcesses() {
  assert.equal(runNode(bigWork).status, 0);
  assert.equal(runNode(`${bigWork} process.exit(7)`).status, 7);
  const wrongIsa = runNode(bigWork, { LLMKIT_ISA: 'sse' });
  assert.equal(wrongIsa.status, 2);
  assert.match(wrongIsa.stderr, /LLMKIT_ISA must be scalar, avx2, avx512, amx or neon, got 'sse'/);
  assert.equal(runNode(`${bigWork}`, { LLMKIT_THREADS: 'many' }).status, 2);
  const threads = `process.exit(require(${JSON.stringify(addonPath)}).threads())`;
  assert.equal(runNode(threads, { LLMKIT_THREADS: '3' }).status, 3);
}

const folder = mkdtempSync(path.join(tmpdir(), 'llmkit-binding-'));
try {
  checkLinears();
  checkRecordings();
  checkArguments();
  checkMapping(folder);
  checkWeights();
  checkCaches();
  checkPackedWeights(path.join(folder, 'packed'));
  await checkPacking();
  await checkNoMemory(path.join(folder, 'large'));
  await checkQuantization();
  await checkHashing();
  checkProcesses();
  await checkWorkers();
} finally {
  rmSync(folder, { recursive: true });
}
