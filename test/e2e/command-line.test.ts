import { copyFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { commands } from '../../src/cli/commands/index.js';
import { VERSION } from '../../src/workflows/version.js';
import { runCli, spawnCli, temporaryFolder } from './helpers.js';
import { writeTinyCheckpoint } from './tiny-checkpoint.js';

const MODEL = await writeTinyCheckpoint(join(temporaryFolder(), 'tiny'));

/** An error is one paragraph on stderr, nothing on stdout. */
async function fails(code: number, args: string[], message: RegExp | string): Promise<void> {
  const result = await runCli(args);
  expect(result.stderr).toMatch(message);
  expect(result.stderr).toMatch(/^llmkit: error: /);
  expect(result.stderr.trim().split('\n').length).toBeLessThanOrEqual(12);
  expect(result).toMatchObject({ code, stdout: '' });
}

test('--version', async () => {
  expect(await runCli(['--version'])).toEqual({ code: 0, stdout: `${VERSION}\n`, stderr: '' });
});

test('the general help lists every command', async () => {
  for (const args of [[], ['--help'], ['help']]) {
    const { code, stdout, stderr } = await runCli(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const name of Object.keys(commands))
      expect(stdout).toMatch(new RegExp(`^  ${name}\\b`, 'm'));
  }
});

test.each(Object.keys(commands))('%s --help', async (name) => {
  const { code, stdout, stderr } = await runCli([name, '--help']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatchSnapshot();
});

test('mistakes are usage errors that name the fix', async () => {
  await fails(2, ['evall', MODEL], /unknown command 'evall'; did you mean eval\?/);
  await fails(2, ['generate', MODEL, '--temprature', '1'], /did you mean --temperature\?/);
  await fails(
    2,
    ['generate', MODEL, '--temperature', '-1'],
    /--temperature must be at least 0, got -1/,
  );
  await fails(2, ['generate', MODEL, '--backend', 'quantum'], /native, reference or tensorflow/);
  await fails(2, ['generate', MODEL, '--device', 'tpu'], /cpu, cuda or auto/);
  await fails(
    2,
    ['generate', MODEL, '--prompt', 'x', '--device', 'cuda', '--backend', 'reference'],
    /cuda is a device of the native backend/,
  );
  await fails(2, ['generate'], /which model\?/);
  await fails(2, ['generate', MODEL, '--config', 'none.yaml'], /none\.yaml: there is no such file/);
});

test('what is not there is a failure', async () => {
  vi.stubEnv('LLMKIT_CUDA_ADDON', 'nowhere.node');
  const onCuda = ['generate', MODEL, '--prompt', 'x', '--device', 'cuda'];
  await fails(1, onCuda, /cuda: .*nowhere\.node is not built; build it with/);
  vi.unstubAllEnvs();
  await fails(1, ['generate', 'nowhere', '--prompt', 'x'], /nowhere/);
});

test('--print-config shows what is resolved from flags, file and defaults', async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'c.yaml'), 'max_new_tokens: 5\ntop_k: 3\n');
  const args = ['generate', MODEL, '--config', 'c.yaml', '--top-k', '4', '--print-config'];
  const { code, stdout } = await runCli(args, { cwd: folder });
  expect(code).toBe(0);
  expect(stdout).toMatch(/^max_new_tokens: 5$/m);
  expect(stdout).toMatch(/^top_k: 4$/m);
  expect(stdout).toMatch(/^seed: 0$/m);
  const json = await runCli([...args, '--json'], { cwd: folder });
  expect(JSON.parse(json.stdout)).toMatchObject({ model: MODEL, top_k: 4, max_new_tokens: 5 });
});

test('MODEL may be left out in a model’s folder, or where llmkit.yaml names one', async () => {
  const folder = temporaryFolder();
  for (const name of readdirSync(MODEL)) copyFileSync(join(MODEL, name), join(folder, name));
  const args = ['generate', '--prompt', 'a', '--max-new-tokens', '2'];
  const inside = await runCli(args, { cwd: folder });
  const named = temporaryFolder();
  writeFileSync(join(named, 'llmkit.yaml'), `model: ${folder}\n`);
  expect(inside.code).toBe(0);
  expect((await runCli(args, { cwd: named })).stdout).toBe(inside.stdout);
});

test('a reader that goes away is no failure', async () => {
  const child = spawnCli(['generate', MODEL, '--prompt', 'a', '--max-new-tokens', '60']);
  child.stdout?.once('data', () => child.stdout?.destroy());
  let stderr = '';
  child.stderr?.on('data', (text) => {
    stderr += text;
  });
  const code = await new Promise((done) => child.once('close', done));
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('error') });
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends a run with %i', async (signal, wanted) => {
  const long = await writeTinyCheckpoint(join(temporaryFolder(), 'long'), 8192);
  const child = spawnCli(['generate', long, '--prompt', 'a', '--max-new-tokens', '8000']);
  child.stdout?.once('data', () => child.kill(signal));
  let stderr = '';
  child.stderr?.on('data', (text) => {
    stderr += text;
  });
  const code = await new Promise((done) => child.once('close', done));
  expect({ code, stderr }).toEqual({
    code: wanted,
    stderr: expect.stringMatching(/interrupted\n$/),
  });
});
