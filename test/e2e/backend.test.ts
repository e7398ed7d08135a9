import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCli, runJson, spawnCli, temporaryFolder } from './helpers.js';

// The programs that an install runs are stood in for by small scripts: what it does with their successes and
// failures is real. A whole install is tried by tensorflow-install.test.ts.

/** A fake program: its shell script, with $prefix the folder that npm installs into. */
type Fakes = Readonly<Record<string, string>>;

const NPM = `
if [ "$1" = --version ]; then echo 11; exit; fi
while [ $# -gt 1 ]; do [ "$1" = --prefix ] && prefix=$2; shift; done
mkdir -p "$prefix/node_modules/@tensorflow/tfjs-node"
echo '{ "version": "4.22.0" }' > "$prefix/node_modules/@tensorflow/tfjs-node/package.json"`;
/** Builds empty files. */
const CMAKE = `
if [ "$1" = --version ]; then echo 3; exit; fi
[ "$1" = --build ] && [ "$4" != kernels ] && touch "$2/$4.node"
exit 0`;
const PIP = `
if [ "$3" = --version ]; then echo 23; exit; fi
echo 'ERROR: No matching distribution found for tensorflow-cpu' >&2; exit 1`;
const WORKING: Fakes = { npm: NPM, cmake: CMAKE, python3: PIP };

/** A machine with no other npm, CMake and Python than these, and a home with an old install. */
function machine(fakes: Fakes = WORKING) {
  const home = temporaryFolder();
  const bin = temporaryFolder();
  for (const [name, script] of Object.entries(fakes)) {
    writeFileSync(join(bin, name), `#!/bin/sh\nPATH=/bin:/usr/bin\n${script}\n`, { mode: 0o755 });
  }
  const backends = join(home, 'backends');
  mkdirSync(join(backends, 'tensorflow'), { recursive: true });
  writeFileSync(join(backends, 'tensorflow', 'old'), 'intact');
  const env = { LLMKIT_HOME: home, PATH: bin, npm_execpath: '', LLMKIT_TENSORFLOW: '' };
  const install = (...args: string[]) =>
    runCli(['backend', 'install', 'tensorflow', ...args], { env });
  return { home, backends, env, install };
}

/** The old install is there, and nothing else. */
function expectUnchanged(backends: string): void {
  expect(readdirSync(backends)).toEqual(['tensorflow']);
  expect(readdirSync(join(backends, 'tensorflow'))).toEqual(['old']);
}

/** The files of TensorFlow's C library, whose libraries only begin as such. */
function fakeLibrary(): string {
  const folder = temporaryFolder();
  const headers = join(folder, 'include', 'tensorflow', 'c');
  mkdirSync(join(headers, 'eager'), { recursive: true });
  mkdirSync(join(folder, 'lib'));
  for (const name of ['c_api.h', 'eager/c_api.h', 'kernels.h', 'ops.h']) {
    writeFileSync(join(headers, name), '');
  }
  const begin = readFileSync(process.execPath).subarray(0, 64);
  for (const name of ['libtensorflow.so.2', 'libtensorflow_framework.so.2']) {
    writeFileSync(join(folder, 'lib', name), begin);
  }
  return folder;
}

test('list says of a GPU addon that no GPU has run that it is compiled only', async () => {
  const addon = join(temporaryFolder(), 'llmkit_cuda.node');
  writeFileSync(addon, 'not a library');
  const { stdout } = await runCli(['backend', 'list'], { env: { LLMKIT_CUDA_ADDON: addon } });
  expect(stdout).toContain("(compiled, never run on this build's hardware)");
});

test('list names every backend, with what it is made of or why it does not load', async () => {
  const env = { LLMKIT_HOME: temporaryFolder() };
  const { node, backends } = await runJson(['backend', 'list'], { env });
  expect(node).toBe(process.version);
  const byName = Object.fromEntries(backends.map((one: { name: string }) => [one.name, one]));
  expect(Object.keys(byName)).toEqual(['native', 'reference', 'tensorflow']);
  expect(byName.reference).toMatchObject({ loads: true, device: { type: 'cpu' }, kernels: [] });
  expect(byName.reference.composed).toContain('LlmkitLinear');
  if (byName.native.loads) {
    expect(Object.keys(byName.native.compute)).toEqual(['f32', 'bf16', 'int8']);
    expect(byName.native.kernels).toEqual(byName.reference.composed);
    expect(byName.native.device.threads).toBeGreaterThan(0);
  }
  const { stdout } = await runCli(['backend'], { env });
  expect(stdout).toMatch(/^native +(loads|missing) .+\n/);
  expect(stdout).toMatch(/^reference +loads .+\n/m);
  expect(stdout).toMatch(/^tensorflow +(loads|missing) .+\n/m);
});

test('check computes a 4-bit product on a backend', async () => {
  const { name, max_difference, allowed_difference } = await runJson([
    'backend',
    'check',
    'reference',
  ]);
  expect(name).toBe('reference');
  expect(max_difference).toBeLessThanOrEqual(allowed_difference);
});

test.each([
  [['install'], /NAME is missing/],
  [['install', 'native'], /NAME must be tensorflow/],
  [['list', 'native'], /NAME belongs to the other actions/],
  [['remove', 'tensorflow', '--gpu'], /--gpu belongs to install/],
  [['update'], /ACTION must be list, install, check or remove, got 'update'/],
  [['check', 'quantum'], /expected one of native/],
  [['install', 'tensorflow', '--from', '/nowhere'], /--from \/nowhere: is not there/],
])('backend %j is refused', async (args, message) => {
  const env = { LLMKIT_HOME: temporaryFolder() };
  const { code, stderr } = await runCli(['backend', ...args], { env });
  expect(stderr).toMatch(message);
  expect(code).toBe(2);
});

test('every missing program is named at once, with what it is for', async () => {
  const { backends, install } = machine({});
  const { code, stderr } = await install();
  expect(code).toBe(1);
  expect(stderr).toMatch(/`npm` is not found; npm comes with Node/);
  expect(stderr).toMatch(/`cmake` is not found; .*install CMake/);
  expect(stderr).toMatch(/`python3` is not found; Python 3 with pip .*--from/);
  expectUnchanged(backends);
});

test('--dry-run says what would be done and writes nothing', async () => {
  const { home, backends, install } = machine();
  const { code, stdout } = await install('--dry-run');
  expect(code).toBe(0);
  expect(stdout).toContain(`would replace @tensorflow/tfjs-node 4.22.0 into ${home}`);
  expect(stdout).toContain('pip download tensorflow-cpu');
  expectUnchanged(backends);
});

test('where there is no wheel, the error says what helps', async () => {
  const { backends, install } = machine();
  const { code, stderr } = await install();
  expect(code).toBe(1);
  expect(stderr).toMatch(/no wheel of tensorflow-cpu: [\s\S]*No matching distribution/);
  expect(stderr).toMatch(/--python-version .*\n?.*--from/);
  expectUnchanged(backends);
});

test.each<[string, Fakes, RegExp]>([
  [
    'npm',
    { npm: NPM.replace('mkdir', 'echo E404 not found >&2; exit 1; mkdir') },
    /E404 not found/,
  ],
  ['cmake', { cmake: CMAKE.replace('exit 0', 'echo no C++ compiler; exit 1') }, /no C\+\+ comp/],
  [
    "the build of llmkit's ops",
    {
      cmake: CMAKE.replace(
        '[ "$1" = --build ]',
        `case "$*" in *--target\\ llmkit_t*) echo 'error: TF_NewKernelBuilder'; exit 1; esac\n[ "$1" = --build ]`,
      ),
    },
    /ops do not build against this TensorFlow's headers \(needs 2.9 .*\): [\s\S]*TF_NewKernelBuilder/,
  ],
  [
    'the product',
    {},
    /backend check.* ended with|backend` ended with exit code 1:[\s\S]*tfjs-node/,
  ],
])('when %s fails, the install before stays', async (_, fakes, message) => {
  const { backends, install } = machine({ ...WORKING, ...fakes });
  const { code, stderr } = await install('--from', fakeLibrary());
  expect(stderr).toMatch(message);
  expect(code).toBe(1);
  expectUnchanged(backends);
});

// root may write everywhere but to what is mounted read-only.
test.skipIf(process.getuid?.() === 0)('a home that takes no files is refused at once', async () => {
  const { env } = machine();
  const home = temporaryFolder();
  chmodSync(home, 0o555);
  const args = ['backend', 'install', 'tensorflow'];
  const { code, stderr } = await runCli(args, { env: { ...env, LLMKIT_HOME: home } });
  expect(stderr).toMatch(/expected a folder that can be written, got EACCES for .*; LLMKIT_HOME/);
  expect(code).toBe(1);
});

test('an interrupted install ends what it started and leaves nothing', async () => {
  const pidFile = join(temporaryFolder(), 'pid');
  const sleeping = `echo $$ > ${pidFile}; sleep 60 & sleep 60`;
  const { backends, env } = machine({
    ...WORKING,
    npm: NPM.replace('mkdir', `${sleeping}; mkdir`),
  });
  const child = spawnCli(['backend', 'install', 'tensorflow', '--from', fakeLibrary()], { env });
  await expect.poll(() => existsSync(pidFile), { timeout: 20_000 }).toBe(true);
  await expect.poll(() => readFileSync(pidFile, 'utf8')).toMatch(/\n/);
  expect(readdirSync(backends)).toHaveLength(2);
  child.kill('SIGINT');
  expect(await new Promise((done) => child.once('close', done))).toBe(130);
  expectUnchanged(backends);
  const group = Number(readFileSync(pidFile, 'utf8'));
  await expect.poll(() => isRunning(group)).toBe(false);
});

/** Whether any process of a group runs. */
function isRunning(group: number): boolean {
  try {
    return process.kill(-group, 0);
  } catch {
    return false;
  }
}

test('what a killed install left is removed by the next, one that runs is left alone', async () => {
  const { backends, install } = machine();
  const left = (name: string) => join(backends, `.tensorflow.${name}.tmp`);
  for (const name of ['killed', 'running', 'aged']) {
    mkdirSync(join(left(name), 'scratch'), { recursive: true });
  }
  writeFileSync(join(left('killed'), 'scratch', 'pid'), String(2 ** 30));
  writeFileSync(join(left('running'), 'scratch', 'pid'), String(process.pid));
  utimesSync(left('aged'), 0, 0);
  utimesSync(left('running'), 0, 0);
  await install();
  expect(readdirSync(backends)).toEqual(['.tensorflow.running.tmp', 'tensorflow']);
});

test('remove takes away what install made, and nothing else', async () => {
  const { home, backends, env } = machine();
  writeFileSync(join(home, 'other'), '');
  const remove = () => runJson(['backend', 'remove', 'tensorflow'], { env });
  expect(await remove()).toMatchObject({ action: 'removed' });
  expect(readdirSync(backends)).toEqual([]);
  expect(await remove()).toMatchObject({ action: 'absent' });
  expect(readdirSync(home)).toEqual(['backends', 'other']);
});

/** Makes a wheel; `entries` is Python that fills the open archive `z`. */
const WHEELS: readonly (readonly [what: string, entries: string, message: RegExp])[] = [
  [
    'without a library',
    "z.writestr('tensorflow/include/tensorflow/c/c_api.h', '')",
    /got a wheel with/,
  ],
  [
    'whose entry leads outside',
    "z.writestr('tensorflow/include/tensorflow/c/../../../../../evil', 'x')",
    /is no path inside it/,
  ],
  [
    'with damaged bytes',
    "z.writestr('tensorflow/libtensorflow_cc.so.2', 'x' * 99)\n" +
      "z.close(); d = open(p, 'rb').read().replace(b'xxx', b'xyx', 1); open(p, 'wb').write(d)",
    /Bad CRC-32/,
  ],
  [
    'that says it is huge',
    "z.writestr('tensorflow/libtensorflow_cc.so.2', 'x')\nz.filelist[0].file_size = 9 << 30",
    /bytes unpacked, of \d+ at most/,
  ],
  [
    'cut off',
    "z.writestr('tensorflow/a', 'x')\nz.close(); open(p, 'r+b').truncate(40)",
    /not a zip/,
  ],
];
const python = ['/usr/bin/python3', '/usr/local/bin/python3', '/bin/python3'].find(existsSync);

test.runIf(python).each(WHEELS)('a wheel %s changes nothing', async (_, entries, message) => {
  const wheel = join(temporaryFolder(), 'tensorflow-9-py3-none-any.whl');
  const script = `import sys, zipfile\np = sys.argv[1]\nz = zipfile.ZipFile(p, 'w')\n${entries}\nz.close()`;
  execFileSync(python as string, ['-c', script, wheel]);
  const { backends, install } = machine({ ...WORKING, python3: `exec ${python} "$@"` });
  const { code, stderr } = await install('--from', wheel);
  expect(stderr).toMatch(message);
  expect(code).toBe(1);
  expectUnchanged(backends);
});
