import { afterEach, describe, expect, test, vi } from 'vitest';
import { checkEnvironment } from '../../../src/tensor/backends/environment.js';
import { listBackends, mapFile, useBackend } from '../../../src/tensor/backends/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';

const chosen = process.env.LLMKIT_BACKEND;

afterEach(() => {
  if (chosen === undefined) delete process.env.LLMKIT_BACKEND;
  else process.env.LLMKIT_BACKEND = chosen;
});

describe('useBackend', () => {
  test('takes the name, then LLMKIT_BACKEND, then the best that loads', async () => {
    process.env.LLMKIT_BACKEND = 'nothing';
    expect((await useBackend('reference')).name).toBe('reference');
    process.env.LLMKIT_BACKEND = 'reference';
    expect(await useBackend()).toEqual({
      name: 'reference',
      device: 'cpu',
      description: 'reference (tfjs cpu, 1 thread)',
    });
    delete process.env.LLMKIT_BACKEND;
    const best = await useBackend();
    const native = (await listBackends()).find(({ name }) => name === 'native');
    expect(best.name).toBe(native?.loads ? 'native' : 'reference');
    expect(best.warning === undefined).toBe(native?.loads);
    if (!native?.loads) expect(best.warning).toContain('node scripts/build-addon.js');
  });

  test('an unknown name is a usage error that lists the names', async () => {
    await expect(useBackend('toString')).rejects.toMatchObject({ code: 'usage' });
    await expect(useBackend('cuda')).rejects.toMatchObject({
      code: 'usage',
      message: "backend: expected one of native, reference, tensorflow, got 'cuda'",
    });
    process.env.LLMKIT_BACKEND = 'nativ';
    await expect(useBackend()).rejects.toMatchObject({ code: 'usage' });
  });

  test('lists every backend with a reason for those that do not load', async () => {
    const backends = await listBackends();
    expect(backends.map(({ name }) => name)).toEqual(['native', 'reference', 'tensorflow']);
    for (const { detail } of backends) expect(detail.length).toBeGreaterThan(5);
  });
});

describe('the environment of the addon', () => {
  test.each([
    { LLMKIT_THREADS: '' },
    { LLMKIT_THREADS: '1' },
    { LLMKIT_THREADS: '1024', LLMKIT_ISA: 'scalar' },
    { LLMKIT_ISA: 'avx2' },
    { LLMKIT_ISA: 'avx512' },
    { LLMKIT_ISA: 'amx' },
    { LLMKIT_ISA: 'neon' },
  ])('%j passes', (env) => checkEnvironment(env));

  test.each([
    [{ LLMKIT_THREADS: '0' }, "LLMKIT_THREADS: expected a whole number from 1 to 1024, got '0'"],
    [{ LLMKIT_THREADS: '1025' }, "got '1025'"],
    [{ LLMKIT_THREADS: '2.5' }, "got '2.5'"],
    [{ LLMKIT_THREADS: 'many' }, "got 'many'"],
    [
      { LLMKIT_ISA: 'sse' },
      "LLMKIT_ISA: expected one of scalar, avx2, avx512, amx, neon, got 'sse'",
    ],
  ])('%j is a usage error', (env, message) => {
    expect(() => checkEnvironment(env)).toThrow(message);
  });

  test('is checked before the addon is loaded, wherever that is', async () => {
    vi.stubEnv('LLMKIT_THREADS', 'many');
    const usage = { code: 'usage', message: expect.stringContaining('LLMKIT_THREADS') };
    await expect(useBackend('native', { device: 'cpu' })).rejects.toMatchObject(usage);
    await expect(listBackends()).rejects.toMatchObject(usage);
    expect(() => mapFile('package.json')).toThrow('LLMKIT_THREADS');
    vi.unstubAllEnvs();
  });
});

/** Overwrites storage of this length that is free. */
function churn(length: number): void {
  tf.tidy(() => {
    tf.add(tf.zeros([length]), 9);
  });
}

describe.each(testedBackends)('tensors on %s', (backend) => {
  test('values read are a copy, and values written are copied', async () => {
    await useTestBackend(backend);
    const tensor = tf.add(tf.tensor1d([1, 2]), tf.tensor1d([1, 1]));
    const read = tensor.dataSync();
    tensor.dispose();
    churn(2);
    expect([...read]).toEqual([2, 3]);
  });

  test('reshapes and clones share storage and outlive each other', async () => {
    await useTestBackend(backend);
    const x = tf.tidy(() => tf.mul(tf.tensor2d([1, 2, 3, 4], [2, 2]), 2));
    const { numDataBuffers } = tf.memory();
    const flat = tf.reshape(x, [4]);
    const clone = tf.clone(x);
    // tfjs-node gives every shape a handle of its own; behind them lies one buffer.
    const handles = backend === 'tensorflow' ? 1 : 0;
    expect(tf.memory().numDataBuffers).toBe(numDataBuffers + handles);
    x.dispose();
    churn(4);
    expect([...flat.dataSync()]).toEqual([2, 4, 6, 8]);
    flat.dispose();
    expect([...clone.dataSync()]).toEqual([2, 4, 6, 8]);
    clone.dispose();
    expect(tf.memory().numDataBuffers).toBe(numDataBuffers - 1);
  });

  test('a kernel of the cpu that returns a view of its input does not share it', async () => {
    await useTestBackend(backend);
    const x = tf.add(tf.tensor1d([1, 2, 3]), 1);
    const reversed = tf.reverse(x, 0);
    const kept = tf.stridedSlice(x, [0], [2], [1]);
    x.dispose();
    churn(3);
    expect([...kept.dataSync()]).toEqual([2, 3]);
    expect([...reversed.dataSync()]).toEqual([4, 3, 2]);
    tf.dispose([kept, reversed]);
  });
});

test('tensors move between backends', async () => {
  const values: number[][] = [];
  let tensor: tf.Tensor | undefined;
  for (const backend of [...testedBackends, ...testedBackends]) {
    await useTestBackend(backend);
    const next = tensor === undefined ? tf.tensor1d([1, 2]) : tf.mul(tensor, 2);
    tensor?.dispose();
    values.push([...next.dataSync()]);
    tensor = next;
  }
  expect(values.map(([first]) => first)).toEqual(values.map((_, i) => 2 ** i));
});

test.runIf(testedBackends.includes('native'))('mapFile gives the bytes of a file', async () => {
  const bytes = mapFile('package.json') as Uint8Array;
  expect(new TextDecoder().decode(bytes.subarray(0, 20))).toContain('"name"');
  expect(() => mapFile('no-such-file')).toThrow(/no-such-file/);
});
