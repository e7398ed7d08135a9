import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import util from 'node:util';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { listBackends, useBackend } from '../../../src/tensor/backends/index.js';
import { describeTensorflow } from '../../../src/tensor/backends/tensorflow.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends } from '../../helpers/backends.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

afterEach(() => vi.unstubAllEnvs());

/** A home of llmkit with a package of this version and these files installed in it. */
function homeWith(version: string, files: Readonly<Record<string, string>> = {}): string {
  const home = temporaryFolder();
  const folder = join(home, 'backends/tensorflow/node_modules/@tensorflow/tfjs-node');
  for (const [path, text] of Object.entries({
    ...files,
    'package.json': JSON.stringify({ name: '@tensorflow/tfjs-node', version }),
  })) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return home;
}

describe.skipIf(testedBackends.includes('tensorflow'))('a tensorflow that does not load', () => {
  const mend = 'install it with `llmkit backend install tensorflow`';

  test('is missing', async () => {
    vi.stubEnv('LLMKIT_HOME', temporaryFolder());
    await expect(useBackend('tensorflow')).rejects.toMatchObject({
      code: 'unsupported',
      message: `tensorflow backend: @tensorflow/tfjs-node is not installed; ${mend}`,
    });
  });

  test.each([
    ['an install script that did not run', '4.22.0', {}, 'npm did not run its install script'],
    ['another major version', '3.21.1', {}, 'expected version 4, got 3.21.1'],
    [
      'an addon that is none',
      '4.22.0',
      { 'lib/napi-v8/tfjs_binding.node': 'none' },
      /too short|invalid ELF header|not a valid|slice is not valid/,
    ],
  ])('has %s', (_name, version, files, why) => {
    vi.stubEnv('LLMKIT_HOME', homeWith(version, files));
    const problem = String(catchError(describeTensorflow));
    expect(problem).toContain('@tensorflow/tfjs-node in ');
    expect(problem).toMatch(why);
    expect(problem).toContain(mend);
  });

  test('is listed with the reason', async () => {
    vi.stubEnv('LLMKIT_HOME', temporaryFolder());
    const [entry] = (await listBackends()).slice(-1);
    expect(entry).toMatchObject({ name: 'tensorflow', loads: false });
    expect(entry?.detail).toContain(mend);
  });
});

function catchError(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}

describe.runIf(testedBackends.includes('tensorflow'))('TensorFlow', () => {
  test('runs on our engine: no second tfjs-core is loaded', async () => {
    await useBackend('tensorflow');
    const modules = Object.keys(createRequire(import.meta.url).cache);
    expect(modules.filter((path) => /@tensorflow.tfjs(-core|-node)?.dist/.test(path))).toEqual([]);
    expect(tf.getKernel('Add', 'tensorflow')).toBeDefined();
    expect(tf.backend()).toBeInstanceOf(tf.KernelBackend);
  });

  test('its package gets the functions that Node took out of util, and nobody else does', async () => {
    await useBackend('tensorflow');
    expect(createRequire(import.meta.url)('util')).toBe(util);
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    const y = tf.matMul(x, x);
    expect([...y.dataSync()]).toEqual([7, 10, 15, 22]);
    tf.dispose([x, y]);
  });

  test('values that wait to be written are the caller’s no more', async () => {
    await useBackend('tensorflow');
    const values = Float32Array.of(1, 2);
    const x = tf.tensor1d(values);
    values[0] = 9;
    (x.dataSync() as Float32Array)[1] = 9;
    expect([...x.dataSync()]).toEqual([1, 2]);
    x.dispose();
  });

  test('says what it is', () => {
    const { packageName, tensorflowVersion, device } = describeTensorflow();
    expect(packageName).toMatch(/^@tensorflow\/tfjs-node(-gpu)?$/);
    expect(tensorflowVersion).toMatch(/^2\./);
    expect(['cpu', 'gpu']).toContain(device);
  });
});
