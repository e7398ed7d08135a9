import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { findLibrary, layOutDeps } from '../../../src/workflows/backend/library.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

/** How a file for this processor begins. */
const ELF = readFileSync(process.execPath).subarray(0, 20);

/** A folder with these files, each holding its own name; a library begins as one. */
function folderOf(...paths: string[]): string {
  const root = temporaryFolder();
  for (const path of paths) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    const name = Buffer.from(path);
    writeFileSync(join(root, path), path.includes('.so') ? Buffer.concat([ELF, name]) : name);
  }
  return root;
}

const HEADERS = [
  ...['c_api.h', 'eager/c_api.h', 'kernels.h', 'ops.h'].map(
    (name) => `include/tensorflow/c/${name}`,
  ),
  'include/tsl/platform/ctstring.h',
];
const WHEEL = [...HEADERS, 'libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'];
const C_LIBRARY = [...HEADERS, 'lib/libtensorflow.so.2.9.1', 'lib/libtensorflow_framework.so.2'];

test.each([
  ["an unpacked wheel's tensorflow folder", WHEEL, '.', 'libtensorflow_cc.so.2'],
  ['a folder of installed packages', WHEEL.map((name) => `tensorflow/${name}`), 'tensorflow', 'cc'],
  ["the C library's folder", C_LIBRARY, '.', 'lib/libtensorflow.so.2'],
])('finds the library in %s', async (_, files, path, library) => {
  const root = folderOf(...files);
  if (files === C_LIBRARY) {
    symlinkSync('libtensorflow.so.2.9.1', join(root, 'lib', 'libtensorflow.so.2'));
  }
  const found = await findLibrary(root);
  expect(found).toMatchObject({ kind: 'folder', path: join(root, path) });
  expect(found.kind === 'folder' && found.library).toContain(library);
});

test('finds a wheel, by its own path or its folder’s', async () => {
  const folder = folderOf('tensorflow_cpu-2.21.0-cp311-cp311-linux_x86_64.whl', 'other.whl');
  const path = join(folder, 'tensorflow_cpu-2.21.0-cp311-cp311-linux_x86_64.whl');
  expect(await findLibrary(folder)).toEqual({ kind: 'wheel', path });
  expect(await findLibrary(path)).toEqual({ kind: 'wheel', path });
});

test.each([
  ['nothing', [], /got none of these/],
  ['two wheels', ['tensorflow-1.whl', 'tensorflow-2.whl'], /got tensorflow-1.whl and tensorflow-2/],
  [
    'no headers',
    ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'],
    /expected .*include\/ with tensorflow\/c\/c_api.h.* got only libtensorflow_cc.so.2, libtensorflow_framework.so.2/,
  ],
  [
    'no framework library',
    [...HEADERS, 'libtensorflow_cc.so.2'],
    /and libtensorflow_framework.so.2.* got only libtensorflow_cc.so.2, include.tensorflow/,
  ],
  [
    "another major version's libraries",
    [...HEADERS, 'libtensorflow_cc.so.3', 'libtensorflow_framework.so.3'],
    /needs 2.9 or newer.* got only libtensorflow_cc.so.3/,
  ],
])('refuses a folder with %s', async (_, files, message) => {
  await expect(findLibrary(folderOf(...files))).rejects.toThrow(message);
});

test('deps hold copies under every name that is asked for, and the headers that are wanted', async () => {
  const root = folderOf(...WHEEL, 'include/llvm/big.h');
  const [deps, scratch] = [join(temporaryFolder(), 'deps'), temporaryFolder()];
  await layOutDeps(await findLibrary(root), { deps, scratch }, { allHeaders: false });
  expect(readdirSync(join(deps, 'include')).sort()).toEqual(['tensorflow', 'tsl']);
  const text = (name: string) =>
    readFileSync(join(deps, 'lib', name))
      .subarray(ELF.length)
      .toString();
  for (const name of ['_cc.so.2', '.so', '.so.2', '.so.2.9.1']) {
    expect(text(`libtensorflow${name}`)).toBe('libtensorflow_cc.so.2');
  }
  expect(text('libtensorflow_framework.so')).toBe('libtensorflow_framework.so.2');
  const all = join(temporaryFolder(), 'deps');
  await layOutDeps(await findLibrary(root), { deps: all, scratch }, { allHeaders: true });
  expect(readdirSync(join(all, 'include'))).toContain('llvm');
});

const MACHINE = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
const OTHER = process.arch === 'arm64' ? 'x86_64' : 'aarch64';

test('takes a wheel for any Python', async () => {
  for (const python of ['cp39-cp39', 'cp313-cp313']) {
    const name = `tensorflow_cpu-2.9.1-${python}-manylinux_2_17_${MACHINE}.manylinux2014_${MACHINE}.whl`;
    const path = join(folderOf(name), name);
    expect(await findLibrary(path)).toEqual({ kind: 'wheel', path });
  }
});

test.each([
  [
    `tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_${OTHER}.whl`,
    `expected a wheel for linux ${MACHINE}, got one for manylinux_2_27_${OTHER}`,
  ],
  [
    'tensorflow-2.21.0-cp312-cp312-macosx_12_0_arm64.whl',
    'got one for macosx_12_0_arm64; without --from pip downloads one that fits',
  ],
  ['tensorflow_intel-2.17.0-cp312-cp312-win_amd64.whl', 'got one for win_amd64'],
  [
    `tensorflow-2.4.4-cp38-cp38-manylinux2010_${MACHINE}.whl`,
    'needs 2.9 or newer, tested with 2.21, got TensorFlow 2.4.4',
  ],
])('refuses %s by its name', async (name, message) => {
  const folder = folderOf(name);
  await expect(findLibrary(folder)).rejects.toThrow(message);
  await expect(findLibrary(join(folder, name))).rejects.toThrow(message);
});

/** The ELF header of another processor. */
const foreign = Buffer.from(ELF);
foreign.writeUInt16LE(process.arch === 'arm64' ? 62 : 183, 18);

test.each<[string, (root: string) => void, RegExp]>([
  [
    'without the headers of ops',
    (root) => {
      rmSync(join(root, 'include/tensorflow/c/kernels.h'));
      rmSync(join(root, 'include/tensorflow/c/ops.h'));
    },
    /expected include\/tensorflow\/c\/kernels.h, include\/tensorflow\/c\/ops.h, which .* needs 2.9/,
  ],
  [
    'of another processor',
    (root) => writeFileSync(join(root, 'libtensorflow_cc.so.2'), foreign),
    /libtensorflow_cc.so.2: expected a library of Linux for \w+, got one for (arm64|x64)/,
  ],
  [
    'whose library is empty',
    (root) => writeFileSync(join(root, 'libtensorflow_framework.so.2'), ''),
    /libtensorflow_framework.so.2: expected a library .* got a file that is none/,
  ],
])('does not build with a TensorFlow %s', async (_, change, message) => {
  const root = folderOf(...WHEEL);
  change(root);
  const folders = { deps: join(temporaryFolder(), 'deps'), scratch: temporaryFolder() };
  const laid = layOutDeps(await findLibrary(root), folders, { allHeaders: false });
  await expect(laid).rejects.toThrow(message);
});
