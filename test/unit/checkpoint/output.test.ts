import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { checkFreeDisk, writeFileAtomic, writeFolder } from '../../../src/checkpoint/output.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const fillWith = (text: string) => async (folder: string) => {
  writeFileSync(join(folder, 'llmkit.json'), text);
  mkdirSync(join(folder, 'sub'));
  writeFileSync(join(folder, 'sub', 'x'), text);
};
const fail = async (folder: string) => {
  await fillWith('half')(folder);
  throw new Error('no more');
};

test('the folder appears whole, with its parents', async () => {
  const root = temporaryFolder();
  const target = join(root, 'a', 'b', 'out');
  await writeFolder(target, {}, async (folder) => {
    expect(existsSync(target)).toBe(false);
    await fillWith('1')(folder);
  });
  expect(readFileSync(join(target, 'sub', 'x'), 'utf8')).toBe('1');
  expect(readdirSync(join(root, 'a', 'b'))).toEqual(['out']);
});

test('a failure leaves nothing, not even the parents it made', async () => {
  const root = temporaryFolder();
  await expect(writeFolder(join(root, 'a', 'b', 'out'), {}, fail)).rejects.toThrow('no more');
  expect(readdirSync(root)).toEqual([]);
});

test('an existing target is refused, and replaced by force only if llmkit wrote it', async () => {
  const root = temporaryFolder();
  const target = join(root, 'out');
  mkdirSync(target);
  writeFileSync(join(target, 'thesis.txt'), 'years of work');
  await expect(writeFolder(target, {}, fillWith('1'))).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringContaining('--force'),
  });
  await expect(writeFolder(target, { force: true }, fillWith('1'))).rejects.toThrow(
    /no llmkit\.json/,
  );
  expect(readdirSync(target)).toEqual(['thesis.txt']);
  writeFileSync(join(target, 'llmkit.json'), '0');
  await expect(writeFolder(target, { force: true }, fail)).rejects.toThrow('no more');
  expect(readFileSync(join(target, 'llmkit.json'), 'utf8')).toBe('0');
  await writeFolder(target, { force: true }, fillWith('1'));
  expect(readdirSync(target).sort()).toEqual(['llmkit.json', 'sub']);
  expect(readdirSync(root)).toEqual(['out']);
});

test('a file is replaced whole', async () => {
  const root = temporaryFolder();
  const path = join(root, 'x.json');
  await writeFileAtomic(path, 'one');
  await writeFileAtomic(path, Buffer.from('two'));
  expect(readFileSync(path, 'utf8')).toBe('two');
  expect(readdirSync(root)).toEqual(['x.json']);
  await expect(writeFileAtomic(join(root, 'no', 'x'), '')).rejects.toThrow(/ENOENT/);
});

test('too little free disk is said before work starts', async () => {
  const path = join(temporaryFolder(), 'not', 'there', 'yet');
  await checkFreeDisk(path, 1);
  await expect(checkFreeDisk(path, 1e18)).rejects.toThrow(
    /expected \d+ MiB of free disk space, got \d+ MiB/,
  );
});

/** Runs a program that imports output.ts; resolves with how it ended. */
async function run(folder: string, program: string, onOutput: (child: ChildProcess) => void) {
  const script = join(folder, 'program.mjs');
  const output = JSON.stringify(resolve('src/checkpoint/output.ts'));
  const contents = `import { writeFolder } from ${output};\n${program}`;
  await build({
    stdin: { contents, resolveDir: '.' },
    outfile: script,
    bundle: true,
    platform: 'node',
    format: 'esm',
  });
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.once('data', () => onOutput(child));
  return new Promise((done) => child.once('close', (code, signal) => done(code ?? signal)));
}

const filling = (target: string) => `
  await writeFolder(${JSON.stringify(target)}, {}, async () => {
    process.stdout.write('filling');
    await new Promise((done) => setTimeout(done, 20_000));
  });`;

test.each([
  ['SIGINT', '', 'SIGINT'],
  ['SIGTERM', '', 'SIGTERM'],
  ['SIGINT', 'process.on("SIGINT", () => process.exit(130));', 130],
] as const)('%s leaves nothing behind (%s)', async (signal, listener, ending) => {
  const root = temporaryFolder();
  const program = `${listener}${filling(join(root, 'out'))}`;
  const ended = await run(root, program, (child) => {
    expect(readdirSync(root)).toHaveLength(2);
    child.kill(signal);
  });
  expect(ended).toBe(ending);
  expect(readdirSync(root)).toEqual(['program.mjs']);
});
