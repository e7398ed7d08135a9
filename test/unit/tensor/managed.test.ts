import { mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  damageOf,
  llmkitHome,
  managedPaths,
  readInstallRecord,
} from '../../../src/tensor/backends/managed.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

test('the home is LLMKIT_HOME, else llmkit in the cache folder', () => {
  expect(llmkitHome({ LLMKIT_HOME: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
  expect(llmkitHome({ LLMKIT_HOME: '', XDG_CACHE_HOME: '/b' })).toBe('/b/llmkit');
  expect(llmkitHome({ LLMKIT_HOME: 'a' })).toBe(join(process.cwd(), 'a'));
  expect(llmkitHome({})).toBe(join(homedir(), '.cache', 'llmkit'));
});

test('a record that is missing, cut off or no object is none', () => {
  const paths = managedPaths(join(temporaryFolder(), 'tensorflow'));
  expect(readInstallRecord(paths)).toBeUndefined();
  mkdirSync(paths.folder);
  for (const text of ['{"package": "@tens', 'null', '']) {
    writeFileSync(paths.record, text);
    expect(readInstallRecord(paths)).toBeUndefined();
  }
  writeFileSync(paths.record, '{"tensorflow_version": "2.21.0"}');
  expect(readInstallRecord(paths)).toEqual({ tensorflow_version: '2.21.0' });
});

test('a library that is cut off or gone is found below a path, and only there', () => {
  const paths = managedPaths(temporaryFolder());
  writeFileSync(paths.opLibrary, '12345');
  expect(damageOf(paths, paths.folder)).toBeUndefined();
  const library_bytes = { 'llmkit_tensorflow.node': 5, 'lib/a.so': 3 };
  writeFileSync(paths.record, JSON.stringify({ library_bytes }));
  expect(damageOf(paths, paths.opLibrary)).toBeUndefined();
  expect(damageOf(paths, join(paths.folder, 'lib'))).toMatch(/a\.so is missing/);
  expect(damageOf(paths, join(paths.folder, 'li'))).toBeUndefined();
  writeFileSync(paths.opLibrary, '1234');
  expect(damageOf(paths, paths.opLibrary)).toMatch(/expected 5 bytes, got 4/);
});
