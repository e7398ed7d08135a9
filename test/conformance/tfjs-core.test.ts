import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { testedBackends } from '../helpers/backends.js';
import { bundleSpecs } from './bundle.js';
import type { SpecResult } from './spec-result.js';

/** All specs of tfjs-core 4.22.0 that run kernels: a spec that gets lost shows. */
const SPECS = 3929;

/** Specs that are not run, each with the reason. */
const EXCLUDED: Readonly<Record<string, string>> = {};

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
    const failed = results.filter(({ status }) => status === 'failed');
    const unexpected = failed.filter(({ name }) => !(name in EXCLUDED));
    expect(unexpected.map(({ name, failures }) => `${name}: ${failures[0]}`)).toEqual([]);
    expect(results).toHaveLength(SPECS);
  },
  TIMEOUT_MS,
);
