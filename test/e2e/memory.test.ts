import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testedBackends } from '../helpers/backends.js';
import { spawnCli, temporaryFolder } from './helpers.js';
import { LARGEST_MATRIX, writeLargeAdapter, writeLargeCheckpoint } from './large-checkpoint.js';

/** Node, the addon, and what is computed with at one time. */
const WORKING_BYTES = 500e6;
const SAMPLE_MS = 10;

interface Peak {
  /** Of all pages, those of mapped files included. */
  readonly residentBytes: number;
  /** Of pages that no file is behind. */
  readonly anonymousBytes: number;
}

/** Runs a command line and samples what Linux says of its memory. */
async function peakOf(args: readonly string[]): Promise<Peak> {
  const child = spawnCli(args);
  child.stdin?.end();
  child.stdout?.resume();
  let [residentBytes, anonymousBytes] = [0, 0];
  const timer = setInterval(() => {
    const status = statusOf(child.pid as number);
    residentBytes = Math.max(residentBytes, field(status, 'VmHWM'));
    anonymousBytes = Math.max(anonymousBytes, field(status, 'RssAnon'));
  }, SAMPLE_MS);
  const closed = new Promise<number | null>((done) => child.once('close', done));
  const stderr = child.stderr ? await text(child.stderr) : '';
  const code = await closed;
  clearInterval(timer);
  expect(code, stderr).toBe(0);
  return { residentBytes, anonymousBytes };
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}

function field(status: string, name: string): number {
  const [, kilobytes = '0'] = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status) ?? [];
  return 1024 * Number(kilobytes);
}

const hasProc = existsSync('/proc/self/status');
const native = testedBackends.includes('native');
const skipped = (what: string) => process.stderr.write(`skipped: ${what}\n`);
if (!hasProc) skipped('peak memory is read from /proc, which this system lacks');
else if (!native) skipped('the memory of merge is promised of the native backend');

describe.skipIf(!hasProc)('peak memory', () => {
  const root = temporaryFolder();
  const model = join(root, 'large');
  beforeAll(() => writeLargeCheckpoint(model));
  afterAll(() => rmSync(root, { recursive: true }));

  test('quantize stays below the largest shard and 500 MB', { timeout: 120_000 }, async () => {
    const shards = readdirSync(model).filter((name) => name.endsWith('.safetensors'));
    expect(shards.length).toBeGreaterThan(3);
    const largest = Math.max(...shards.map((name) => statSync(join(model, name)).size));
    const { residentBytes } = await peakOf(['quantize', model, '-o', join(root, 'nf4')]);
    expect(residentBytes).toBeGreaterThan(0);
    expect(residentBytes).toBeLessThan(largest + WORKING_BYTES);
  });

  test.skipIf(!native)(
    'merge stays below two copies of the largest layer in float32, and 500 MB, beside mapped files',
    { timeout: 120_000 },
    async () => {
      const adapter = await writeLargeAdapter(join(root, 'adapter'));
      const output = join(root, 'merged');
      const { anonymousBytes } = await peakOf(['merge', model, '--adapter', adapter, '-o', output]);
      expect(anonymousBytes).toBeGreaterThan(0);
      expect(anonymousBytes).toBeLessThan(2 * 4 * LARGEST_MATRIX + WORKING_BYTES);
    },
  );
});
