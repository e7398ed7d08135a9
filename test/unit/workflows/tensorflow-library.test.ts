import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { findLibrary, layOutDeps } from '../../../src/workflows/backend/library.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

/** A folder with these files, each holding its own name. */
function folderOf(...paths: string[]): string {
  const root = temporaryFolder();
  for (const path of paths) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), path);
  }
  return root;
}

const HEADERS = ['include/tensorflow/c/c_api.h', 'include/tsl/platform/ctstring.h'];
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
  ['no headers', ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'], /got none of these/],
])('refuses a folder with %s', async (_, files, message) => {
  await expect(findLibrary(folderOf(...files))).rejects.toThrow(message);
});

test('deps hold copies under every name that is asked for, and the headers that are wanted', async () => {
  const root = folderOf(...WHEEL, 'include/llvm/big.h');
  const [deps, scratch] = [join(temporaryFolder(), 'deps'), temporaryFolder()];
  await layOutDeps(await findLibrary(root), { deps, scratch }, { allHeaders: false });
  expect(readdirSync(join(deps, 'include')).sort()).toEqual(['tensorflow', 'tsl']);
  const text = (name: string) => readFileSync(join(deps, 'lib', name), 'utf8');
  for (const name of ['_cc.so.2', '.so', '.so.2', '.so.2.9.1']) {
    expect(text(`libtensorflow${name}`)).toBe('libtensorflow_cc.so.2');
  }
  expect(text('libtensorflow_framework.so')).toBe('libtensorflow_framework.so.2');
  const all = join(temporaryFolder(), 'deps');
  await layOutDeps(await findLibrary(root), { deps: all, scratch }, { allHeaders: true });
  expect(readdirSync(join(all, 'include'))).toContain('llvm');
});
