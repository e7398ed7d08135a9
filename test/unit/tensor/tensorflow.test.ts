import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import util from 'node:util';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { listBackends, useBackend } from '../../../src/tensor/backends/index.js';
import { managedPaths } from '../../../src/tensor/backends/managed.js';
import { coreForPackage } from '../../../src/tensor/backends/tensorflow/core-for-package.js';
import { findPackages } from '../../../src/tensor/backends/tensorflow/find-package.js';
import type { NodeBackend } from '../../../src/tensor/backends/tensorflow/node-backend.js';
import { loadOpLibrary, type OpAddon } from '../../../src/tensor/backends/tensorflow/op-library.js';
import { OpRunner } from '../../../src/tensor/backends/tensorflow/op-runner.js';
import { describeTensorflow } from '../../../src/tensor/backends/tensorflow.js';
import { adamw, linear } from '../../../src/tensor/ops/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';
import { randomWeight } from './weights.js';

const tensorflow = testedBackends.includes('tensorflow') ? describeTensorflow() : undefined;
const hasOps = tensorflow !== undefined && tensorflow.ops.length > 0;
const onGpu = hasOps && tensorflow.device === 'gpu';

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

  test('its package gets every name of tfjs-core that its kernels use', () => {
    const dist = join(findPackages()[0]?.folder as string, 'dist');
    const kernels = readdirSync(join(dist, 'kernels')).filter((file) => file.endsWith('.js'));
    const files = [...kernels.map((file) => join('kernels', file)), 'nodejs_kernel_backend.js'];
    const text = files.map((file) => readFileSync(join(dist, file), 'utf8')).join('\n');
    const used = [...text.matchAll(/\b(?:tf|tfjs_1|tfjs_core_1)\.(\w+)/g)].map(([, name]) => name);
    expect(used.length).toBeGreaterThan(300);
    expect(Object.keys(coreForPackage())).toEqual(expect.arrayContaining(used));
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
    const { packageName, tensorflowVersion, device, ops, opsMissing } = describeTensorflow();
    expect(packageName).toMatch(/^@tensorflow\/tfjs-node(-gpu)?$/);
    expect(tensorflowVersion).toMatch(/^2\./);
    expect(['cpu', 'gpu']).toContain(device);
    if (opsMissing === undefined) expect(ops).toContain('LlmkitLinear');
    else expect(opsMissing).toContain('llmkit backend install tensorflow');
  });
});

describe.runIf(hasOps)("llmkit's ops in TensorFlow", () => {
  const version = tensorflow?.tensorflowVersion ?? '';
  const randomInt4 = () => randomWeight('int4 with zeros', 24, 96);

  test.skipIf(onGpu)(
    'are the kernels of native: a 4-bit product and its gradient have the same bits',
    async () => {
      const x = randomNormal(5 * 96, 1);
      const results: Float32Array[][] = [];
      for (const backend of ['native', 'tensorflow']) {
        await useTestBackend(backend);
        const weight = randomInt4();
        results.push(
          tf.tidy(() => {
            const input = tf.tensor2d(x, [5, 96]);
            const dx = tf.grad((x: tf.Tensor) => linear(x, weight))(input);
            return [linear(input, weight), dx].map((tensor) => tensor.dataSync() as Float32Array);
          }),
        );
        weight.dispose();
      }
      expect(results[1]).toEqual(results[0]);
    },
  );

  test.skipIf(onGpu)(
    'are none for a GPU where they were built without kernels for it',
    async () => {
      await useBackend('tensorflow');
      const library = loadOpLibrary([], { device: 'gpu', version });
      expect(library.ops).toEqual([]);
      expect(library).toHaveProperty('why', expect.stringContaining('nvcc'));
    },
  );

  test('are none for a GPU of another TensorFlow than they were built for', async () => {
    await useBackend('tensorflow');
    // The one that is loaded already: ops are registered once.
    const loaded = process.env.LLMKIT_TENSORFLOW_OPS || managedPaths().opLibrary;
    vi.stubEnv('LLMKIT_TENSORFLOW_OPS', loaded);
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'install.json'), JSON.stringify({ tensorflow_version: '2.9.1' }));
    vi.stubEnv('LLMKIT_TENSORFLOW', folder);
    const library = loadOpLibrary([], { device: 'gpu', version });
    expect(library).toEqual({
      ops: [],
      why: `their kernels for its GPU device are built for TensorFlow 2.9.1, got ${version}`,
    });
  });

  test.runIf(onGpu)('have a kernel for the GPU each', () => {
    const { ops, opsMissing } = describeTensorflow();
    expect(ops).toContain('LlmkitAttention');
    expect(opsMissing).toBeUndefined();
  });

  test('refuse a weight that has been disposed of, and sizes that do not fit', async () => {
    await useBackend('tensorflow');
    const { addon } = loadOpLibrary([], { device: 'cpu', version }) as { addon: OpAddon };
    const ops = new OpRunner(tf.backend() as NodeBackend, addon, 'cpu');
    const weight = randomInt4();
    const attributes = ops.weight({ weight });
    const x = tf.ones([5, 96]);
    const run = (input: tf.Tensor) => ops.runOne('LlmkitLinear', [input, undefined], attributes);
    expect(() => run(tf.ones([5, 95]))).toThrow('x has 475 elements, not rows of 96');
    expect(run(x).shape).toEqual([5, 24]);
    weight.dispose();
    expect(() => run(x)).toThrow('the weight has been disposed of');
  });

  test('adamw leaves a reshape of the parameter as it was', async () => {
    await useBackend('tensorflow');
    const variables = tf.tidy(() => [1, 0, 0].map((x) => tf.variable(tf.fill([2, 2], x))));
    const [parameter, m, v] = variables as [tf.Variable, tf.Variable, tf.Variable];
    const flat = tf.reshape(parameter, [4]);
    const gradient = tf.ones([2, 2]);
    const hyper = { step: 1, learningRate: 0.5, beta1: 0.9, beta2: 0.99, eps: 1e-8 };
    adamw({ parameter, m, v, gradient }, { ...hyper, weightDecay: 0 });
    expect([...flat.dataSync()]).toEqual([1, 1, 1, 1]);
    expect(parameter.dataSync()[0]).toBeCloseTo(0.5, 5);
    tf.dispose([...variables, flat, gradient]);
  });

  test('keep nothing at TensorFlow', async () => {
    await useBackend('tensorflow');
    const backend = tf.backend() as NodeBackend;
    const weight = randomInt4();
    const step = () =>
      tf.tidy(() =>
        tf
          .grad((x: tf.Tensor) => linear(x, weight))(tf.ones([5, 96]))
          .dataSync(),
      );
    step();
    const before = backend.getNumOfTFTensors();
    for (let i = 0; i < 10; i++) step();
    expect(backend.getNumOfTFTensors()).toBe(before);
    weight.dispose();
  });
});
