import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { testedBackends } from '../helpers/backends.js';
import { bundleSpecs } from './bundle.js';
import type { SpecResult } from './spec-result.js';

/**
 * The specs of tfjs-core 4.22.0 that run kernels, without those for browsers alone: one that gets
 * lost shows. None is excluded here; the pending ones are switched off in tfjs-core itself.
 */
const SPECS = { passed: 3926, pending: 3 };

const TIMEOUT_MS = 90_000;

async function runSpecs(backend: string): Promise<readonly SpecResult[]> {
  // Below the repository, so that the program finds jasmine-core and the addon.
  const folder = await mkdtemp(resolve('node_modules/.cache/conformance-'));
  try {
    const [program, results] = [`${folder}/specs.mjs`, `${folder}/results.json`];
    await bundleSpecs(program);
    await promisify(execFile)(process.execPath, [program, backend, results], {
      timeout: TIMEOUT_MS,
      maxBuffer: 2 ** 26,
    });
    return JSON.parse(await readFile(results, 'utf8')) as SpecResult[];
  } finally {
    await rm(folder, { recursive: true });
  }
}

test.each(testedBackends)(
  'tfjs-core specs pass on %s',
  async (backend) => {
    const results = await runSpecs(backend);
    const withStatus = (wanted: string) => results.filter(({ status }) => status === wanted);
    const failures = withStatus('failed').map(({ name, failures }) => `${name}: ${failures[0]}`);
    expect(failures).toEqual([]);
    const [passed, pending] = [withStatus('passed').length, withStatus('pending').length];
    expect({ passed, pending }).toEqual(SPECS);
  },
  TIMEOUT_MS,
);
