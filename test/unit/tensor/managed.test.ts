import { mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  llmkitHome,
  managedPaths,
  readInstallRecord,
} from '../../../src/tensor/backends/managed.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

test('the home is LLMKIT_HOME, else llmkit in the cache folder', () => {
  expect(llmkitHome({ LLMKIT_HOME: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
  expect(llmkitHome({ LLMKIT_HOME: '', XDG_CACHE_HOME: '/b' })).toBe('/b/llmkit');
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
