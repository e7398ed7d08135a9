import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  installFolder,
  managedPaths,
  readInstallRecord,
} from '../../src/tensor/backends/managed.js';
import { sha256OfKernels } from '../../src/workflows/backend/kernels-hash.js';
import { runCli, runJson } from './helpers.js';

// What `llmkit backend install tensorflow` has made on this machine, whole and broken.

const record = readInstallRecord(managedPaths(installFolder()));
const isCurrent = record?.kernels_sha256 === (await sha256OfKernels());
if (!isCurrent) {
  const what = record === undefined ? 'no TensorFlow' : "a TensorFlow of other kernels' ops";
  process.stderr.write(`skipped: ${what} in ${installFolder()} (backend install tensorflow)\n`);
}
const BINDING = join('lib', 'napi-v8', 'tfjs_binding.node');

/** The install with another inode for every folder, so that a test may take files away. */
function copyOfInstall() {
  const folder = mkdtempSync(join(dirname(installFolder()), '.broken-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  execFileSync('cp', ['-al', `${installFolder()}/.`, folder]);
  const inPackage = (...names: string[]) =>
    join(folder, 'node_modules', record?.package ?? '', ...names);
  return { folder, inPackage, env: { LLMKIT_TENSORFLOW: folder } };
}

type Install = ReturnType<typeof copyOfInstall>;

/** Leaves the first bytes of a file, in a file of its own: the other name's bytes stay. */
function cut(path: string): void {
  execFileSync('cp', ['--remove-destination', path, `${path}.cut`]);
  truncateSync(`${path}.cut`, 1000);
  execFileSync('mv', [`${path}.cut`, path]);
}

const GENERATE = [
  'generate',
  'fixtures/models/tales-2m',
  '--prompt',
  'Once',
  '--max-new-tokens',
  '2',
];

describe.runIf(isCurrent)('an installed TensorFlow', () => {
  test('is left alone by a second install, and computes', async () => {
    const again = await runJson(['backend', 'install', 'tensorflow']);
    expect(again).toMatchObject({
      action: 'present',
      tensorflow_version: record?.tensorflow_version,
    });
    const check = await runJson(['backend', 'check', 'tensorflow']);
    expect(check.versions).toMatchObject({ tensorflow: record?.tensorflow_version });
    expect(check.kernels).toContain('LlmkitLinear');
  });

  test.each<[string, (install: Install) => void]>([
    ['without its binding', ({ inPackage }) => rmSync(inPackage(BINDING))],
    ['with a binding cut off', ({ inPackage }) => cut(inPackage(BINDING))],
    ['without its library', ({ inPackage }) => rmSync(inPackage('deps'), { recursive: true })],
    ['without its code', ({ inPackage }) => rmSync(inPackage('dist'), { recursive: true })],
    [
      'whose package.json is cut off',
      ({ inPackage }) => {
        rmSync(inPackage('package.json'));
        writeFileSync(inPackage('package.json'), '{ "version"');
      },
    ],
    ['without the package', ({ inPackage }) => rmSync(inPackage(), { recursive: true })],
  ])('%s does not load, and the error mends it', async (_, damage) => {
    const install = copyOfInstall();
    damage(install);
    const { backends } = await runJson(['backend', 'list'], { env: install.env });
    const tensorflow = backends.find((one: { name: string }) => one.name === 'tensorflow');
    expect(tensorflow.loads).toBe(false);
    expect(tensorflow.detail).toMatch(/llmkit backend install tensorflow/);
    const run = await runCli([...GENERATE, '--backend', 'tensorflow'], { env: install.env });
    expect(run).toMatchObject({ code: 1, stdout: '' });
    expect(run.stderr).toMatch(/llmkit: error: tensorflow backend: .*/);
    expect(run.stderr).not.toContain('bug in llmkit');
  });

  test.each<[string, (install: Install) => void]>([
    ['without', ({ folder }) => rmSync(managedPaths(folder).opLibrary)],
    ['with a cut off file of', ({ folder }) => cut(managedPaths(folder).opLibrary)],
  ])('%s llmkit’s ops computes without them, and says so', async (_, damage) => {
    const install = copyOfInstall();
    damage(install);
    const run = await runCli([...GENERATE, '--backend', 'tensorflow'], { env: install.env });
    expect(run.code, run.stderr).toBe(0);
    expect(run.stderr).toMatch(/warning: .*llmkit's ops.*llmkit backend install tensorflow/);
  });
});
