import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { testedBackends } from '../helpers/backends.js';

const hasTaskset = spawnSync('taskset', ['--version']).status === 0;
const native = testedBackends.includes('native');
if (!hasTaskset) process.stderr.write('skipped: there is no taskset to leave a process one CPU\n');

/** The threads that a process takes which may use the first of our CPUs alone. */
function threadsOnOne(env: NodeJS.ProcessEnv): number {
  const [, first = '0'] =
    /^Cpus_allowed_list:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  const args = ['-c', first, process.execPath, 'bin/llmkit.js', 'backend', 'list', '--json'];
  const { LLMKIT_THREADS: _, ...rest } = process.env;
  const stdout = execFileSync('taskset', args, { encoding: 'utf8', env: { ...rest, ...env } });
  const { backends } = JSON.parse(stdout);
  return backends.find(({ name }: { name: string }) => name === 'native').device.threads;
}

test.runIf(hasTaskset && native)(
  'a process that has one CPU takes one thread, unless told otherwise',
  () => {
    expect(threadsOnOne({})).toBe(1);
    expect(threadsOnOne({ LLMKIT_THREADS: '3' })).toBe(3);
  },
);
