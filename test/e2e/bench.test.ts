import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { Row } from '../../bench/report/rows.js';
import { gpuIsThere } from '../../src/tensor/backends/device-choice.js';
import { temporaryFolder } from './helpers.js';

const run = promisify(execFile);

/** The works of the smallest shape that together touch every part of the benchmark. */
const WORKS = '^(generate int4 as bf16|QLoRA r=16, nf4 B|score|quantize|start)';
const TIMEOUT_MS = 180_000;

test.skipIf(!existsSync('build/llmkit.node'))(
  'the benchmark measures llmkit on a small shape without peers',
  async () => {
    const folder = temporaryFolder();
    const json = join(folder, 'rows.json');
    const flags = ['--shape', 'tiny', '--quick', '--no-peers', '--threads', '1', '--json', json];
    const args = ['scripts/bench.js', 'cpu', ...flags, '--cache', folder, '--only', WORKS];
    const { stdout } = await run(process.execPath, args, { timeout: TIMEOUT_MS });
    const rows: Row[] = JSON.parse(readFileSync(json, 'utf8'));
    expect(rows.map(({ work, unit }) => [work, unit])).toEqual([
      ['prefill 128, int4 as bf16, 1 thread', 'tok/s'],
      ['decode 16, int4 as bf16, 1 thread', 'tok/s'],
      ...onLinux(['generate memory, int4 as bf16, 1 thread', 'GB']),
      ['QLoRA r=16, nf4 B=1 S=64, 1 thread', 'tok/s'],
      ...onLinux(['memory of QLoRA r=16, nf4 B=1 S=64, 1 thread', 'GB']),
      ['score 128, tiny, bf16, 1 thread', 'tok/s'],
      ['quantize bf16 to int4, 1 thread', 'GB/s in'],
      ['start of llmkit --version beside node -e 0', 'ms'],
    ]);
    for (const { work, llmkit } of rows) {
      expect(llmkit, work).toBeGreaterThan(0);
      expect(stdout).toContain(work);
    }
  },
  TIMEOUT_MS,
);

test.skipIf(gpuIsThere())(
  'the benchmark on a GPU says that there is none, and writes no figure',
  async () => {
    const json = join(temporaryFolder(), 'rows.json');
    const args = ['scripts/bench.js', 'cuda', '--json', json];
    const { stdout } = await run(process.execPath, args, { timeout: TIMEOUT_MS });
    expect(stdout).toBe('skipped: no CUDA device\n');
    expect(existsSync(json)).toBe(false);
  },
  TIMEOUT_MS,
);

/** Where the system says how much memory a process held. */
function onLinux(row: readonly [string, string]) {
  return process.platform === 'linux' ? [row] : [];
}
