import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as z from 'zod';
import { defineCommand } from '../../../src/cli/command.js';
import { resolveConfig } from '../../../src/cli/config.js';

const command = defineCommand({
  name: 'sing',
  summary: 'Sings',
  arguments: [{ key: 'model', name: 'MODEL', description: 'the singer', kind: 'model' }],
  shape: {
    model: z.string(),
    bits: z.literal([4, 8]).optional(),
    scheme: z.enum(['nf4', 'int4']).default('nf4'),
    learning_rate: z.number().gt(0).default(1e-4),
    batch_size: z.union([z.int().min(1), z.literal('auto')]).default(8),
    lora: z
      .strictObject({ r: z.int().min(1).default(8), alpha: z.number().default(16) })
      .optional(),
    data: z.array(z.union([z.string(), z.strictObject({ path: z.string() })])).default([]),
    sources: z
      .preprocess(
        (value) => [value],
        z.array(z.strictObject({ format: z.enum(['text', 'messages']) })),
      )
      .optional(),
  },
  flags: { bits: { value: 'B', description: 'bits' } },
  examples: [],
  check({ bits, scheme }, problem) {
    if (bits === 8 && scheme === 'nf4') problem('bits', '8 does not go with nf4');
  },
  run: async () => 0,
});

const model = { value: 'm', label: 'MODEL' };
let folder: string;
const before = process.cwd();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'llmkit-config-'));
  process.chdir(folder);
});
afterEach(() => process.chdir(before));

/** The message of the error that a config file and flags give. */
async function messageOf(yaml: string, given = {}, set: string[] = []): Promise<string> {
  writeFileSync('c.yaml', yaml);
  try {
    await resolveConfig(command, { given: { model, ...given }, file: 'c.yaml', set });
  } catch (error) {
    return (error as Error).message;
  }
  return '';
}

test('flags beat --set beats the file beats the defaults', async () => {
  writeFileSync('c.yaml', 'bits: 4\nlearning_rate: 1e-5\nlora: {r: 2}\nseed: 3\nthreads: 2\n');
  const config = await resolveConfig(command, {
    given: { model, seed: { value: 9, label: '--seed' } },
    file: 'c.yaml',
    set: ['lora.alpha=32', 'threads=1', 'bits=4'],
  });
  expect(config).toMatchObject({
    model: 'm',
    bits: 4,
    scheme: 'nf4',
    learning_rate: 1e-5,
    lora: { r: 2, alpha: 32 },
    seed: 9,
    threads: 1,
  });
});

test('an unknown key names the one that was meant, at every depth', async () => {
  expect(await messageOf('learning_rat: 1')).toBe(
    'c.yaml: learning_rat is not a known key; did you mean learning_rate?',
  );
  expect(await messageOf('lora: {rr: 1}')).toContain('lora.rr is not a known key; did you mean r?');
  expect((await messageOf('data: [{pth: x}]')).split('\n').slice(1)).toEqual([
    '  - c.yaml: data[0].path is missing',
    '  - c.yaml: data[0].pth is not a known key; did you mean path?',
  ]);
});

test('all problems come in one error, each with its place', async () => {
  const message = await messageOf('bits: 5.5\nscheme: nf5\nbatch_size: many\nlora: {r: x}', {
    seed: { value: 'a', label: '--seed' },
  });
  expect(message.split('\n')).toEqual([
    '5 problems:',
    "  - --seed must be a number, got 'a'",
    '  - c.yaml: bits must be 4 or 8, got 5.5',
    "  - c.yaml: scheme must be nf4 or int4, got 'nf5'; did you mean nf4?",
    "  - c.yaml: batch_size must be a number or auto, got 'many'",
    "  - c.yaml: lora.r must be a number, got 'x'",
  ]);
});

test('a bound of one form of several is named', async () => {
  expect(await messageOf('batch_size: 0')).toBe('c.yaml: batch_size must be at least 1, got 0');
});

test('a value that a shorthand wraps is shown as it was written', async () => {
  expect(await messageOf('sources: {format: mesages}')).toBe(
    "c.yaml: sources[0].format must be text or messages, got 'mesages'; did you mean messages?",
  );
  expect(await messageOf('sources: {}')).toBe('c.yaml: sources[0].format is missing');
});

test('--set with broken YAML is a usage error, not a stack trace', async () => {
  const message = await messageOf('', {}, ['lora=[1']);
  expect(message).toMatch(/^--set: 'lora=\[1' has no valid YAML after the =: /);
  expect(message).not.toContain('\n');
});

test('a flood of problems is cut', async () => {
  const keys = Array.from({ length: 30 }, (_, i) => `key${i}: 1`).join('\n');
  expect((await messageOf(keys)).split('\n')).toHaveLength(11);
  expect(await messageOf(keys)).toContain('… and 21 more');
});

test('checks across keys name a flag as a flag', async () => {
  expect(await messageOf('bits: 8')).toBe('c.yaml: bits 8 does not go with nf4');
  const given = { model, bits: { value: 8, label: '--bits' } };
  await expect(resolveConfig(command, { given })).rejects.toThrow('--bits 8 does not');
});

test('files that are no mapping, no YAML or not there', async () => {
  expect(await messageOf('- 1')).toContain('expected a mapping');
  expect(await messageOf('a: [')).toContain('c.yaml: not valid YAML');
  await expect(resolveConfig(command, { given: { model }, file: 'none.yaml' })).rejects.toThrow(
    'config file none.yaml: there is no such file',
  );
});

test('MODEL left out: the current folder’s checkpoint, else llmkit.yaml, else an error', async () => {
  await expect(resolveConfig(command, { given: {} })).rejects.toThrow(/which model\?/);
  writeFileSync('llmkit.yaml', 'model: org/name\nother: 1\n');
  expect((await resolveConfig(command, { given: {} })).model).toBe('org/name');
  writeFileSync('config.json', '{}');
  writeFileSync('model.safetensors', '');
  expect((await resolveConfig(command, { given: {} })).model).toBe('.');
  mkdirSync('sub');
  writeFileSync('c.yaml', 'model: from-file');
  expect((await resolveConfig(command, { given: {}, file: 'c.yaml' })).model).toBe('from-file');
});
