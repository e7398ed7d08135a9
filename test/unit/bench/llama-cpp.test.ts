import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { llamaCpps, NO_PEERS } from '../../../bench/peers/index.js';
import {
  llamaBatchedBench,
  llamaBench,
  openIkLlamaCpp,
  type Program,
} from '../../../bench/peers/llama-cpp.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

/** A shell script as a program of a folder. */
function writeProgram(folder: string, name: string, script: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

const ROWS = JSON.stringify([
  { n_prompt: 512, n_gen: 0, avg_ts: 182.5 },
  { n_prompt: 0, n_gen: 64, avg_ts: 72.25 },
]);

const TABLE = [
  'main: n_kv_max = 4096, n_threads = 2',
  '|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |',
  '|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|',
  '|    32 |     16 |    8 |    384 |    1.500 |   170.67 |    1.250 |   102.40 |    2.750 |   139.64 |',
].join('\n');

const JOB = { model: 'm.gguf', threads: 2, promptTokens: 512, newTokens: 64 };

describe('ik_llama.cpp', () => {
  test('is the one that LLMKIT_BENCH_IK_LLAMA names, and repacks weights at load', async () => {
    const folder = temporaryFolder();
    const wanted = '-rtr 1 -m m.gguf -t 2 -p 512 -n 64 -r 1 -o json';
    writeProgram(folder, 'llama-bench', `[ "$*" = "${wanted}" ] && echo '${ROWS}'`);
    writeProgram(folder, 'llama-batched-bench', `[ "$1" = -rtr ] && echo '${TABLE}' >&2`);
    vi.stubEnv('LLMKIT_BENCH_IK_LLAMA', folder);
    const { name, bench, batchedBench } = await openIkLlamaCpp();
    expect(name).toBe('ik_llama.cpp');
    const rates = await llamaBench(bench as Program, JOB);
    expect(rates).toMatchObject({ prefill: 182.5, decode: 72.25 });
    const batch = { model: 'm.gguf', threads: 2, newTokens: 16, sequences: 8 };
    expect(await llamaBatchedBench(batchedBench as Program, batch)).toBe(102.4);
  });

  test('is left out where nothing names it, or the folder has no llama-bench', async () => {
    vi.stubEnv('LLMKIT_BENCH_IK_LLAMA', undefined);
    await expect(openIkLlamaCpp()).rejects.toThrow('LLMKIT_BENCH_IK_LLAMA names no folder');
    const folder = temporaryFolder();
    vi.stubEnv('LLMKIT_BENCH_IK_LLAMA', folder);
    await expect(openIkLlamaCpp()).rejects.toThrow(`no llama-bench in ${folder}`);
  });

  test('is measured after llama.cpp', () => {
    const { llamaCpp } = NO_PEERS;
    const ikLlamaCpp = { ...llamaCpp, name: 'ik_llama.cpp' };
    expect(llamaCpps(NO_PEERS)).toEqual([llamaCpp]);
    expect(llamaCpps({ ...NO_PEERS, ikLlamaCpp })).toEqual([llamaCpp, ikLlamaCpp]);
  });
});

test('a llama-batched-bench that prints no table is an error', async () => {
  const path = writeProgram(temporaryFolder(), 'llama-batched-bench', 'echo nothing');
  const job = { model: 'm.gguf', threads: 2, newTokens: 16, sequences: 8 };
  await expect(llamaBatchedBench({ path, flags: [] }, job)).rejects.toThrow('printed no table');
});
