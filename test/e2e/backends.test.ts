import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { managedPaths } from '../../src/tensor/backends/managed.js';
import { testedBackends } from '../helpers/backends.js';
import { runCli, runJson, temporaryFolder } from './helpers.js';

const MODEL = 'fixtures/models/tales-2m';
const BACKENDS = ['native', 'tensorflow'] as const;

/** Runs a command on both backends; the documents in the order of BACKENDS. */
async function onBoth(args: (backend: string) => readonly string[]) {
  const documents = [];
  for (const backend of BACKENDS) {
    documents.push(await runJson([...args(backend), '--backend', backend]));
  }
  return documents;
}

/** max |a − b| / max |b| */
function difference(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length);
  const largest = Math.max(...b.map(Math.abs));
  return Math.max(...a.map((x, i) => Math.abs(x - (b[i] ?? Number.NaN)))) / largest;
}

/** A training run of ten steps in float32, and where it writes. */
function trainingArgs(backend: string, out: string, settings: readonly string[]): string[] {
  const data = join(temporaryFolder(), 'data.jsonl');
  const text = (i: number) => `Nina went to the ${['lake', 'hotel', 'garden'][i % 3]} with Felix.`;
  const lines = Array.from({ length: 24 }, (_, i) => JSON.stringify({ text: text(i) }));
  writeFileSync(data, lines.join('\n'));
  const sets = [
    `model=${MODEL}`,
    `output_dir=${join(out, backend)}`,
    `data={path: ${data}, format: text}`,
    'lora={r: 4, alpha: 8, dropout: 0.1}',
    'learning_rate=1e-3',
    'max_length=32',
    'batch_size=2',
    'max_steps=10',
    'compute=f32',
    ...settings,
  ];
  return ['lora-train', ...sets.flatMap((set) => ['--set', set])];
}

function lossesOf(folder: string): number[] {
  const lines = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return lines.flatMap((line) => (JSON.parse(line) as { loss?: number }).loss ?? []);
}

const TIMEOUT_MS = 120_000;

describe.runIf(testedBackends.includes('tensorflow'))('tensorflow beside native', () => {
  test(
    'writes the same greedy text',
    async () => {
      const [native, tensorflow] = await onBoth(() => [
        ...['generate', MODEL, '--prompt', 'Nina went to the', '--temperature', '0'],
        ...['--max-new-tokens', '40', '--compute', 'f32'],
      ]);
      expect(tensorflow.backend).toContain('tensorflow');
      expect(tensorflow.choices[0].ids.length).toBeGreaterThan(20);
      expect(tensorflow.choices[0].text).toBe(native.choices[0].text);
    },
    TIMEOUT_MS,
  );

  test(
    'composes the ops that a GPU has no kernel for, and names them once',
    async () => {
      const ops = join(temporaryFolder(), 'ops.cjs');
      const library = JSON.stringify(managedPaths().opLibrary);
      writeFileSync(
        ops,
        `const addon = require(${library});\n` +
          'const registerGpuKernels = () => addon.registerOps().filter((op) => !/Attention$/.test(op));\n' +
          'module.exports = { ...addon, emulatesGpu: () => true, registerGpuKernels };\n',
      );
      const args = ['generate', MODEL, '--prompt', 'Nina went to', '--temperature', '0'];
      const settings = ['--max-new-tokens', '8', '--compute', 'f32', '--backend'];
      const native = await runCli([...args, ...settings, 'native']);
      const env = { LLMKIT_TENSORFLOW_OPS: ops };
      const tensorflow = await runCli([...args, ...settings, 'tensorflow'], { env });
      expect(tensorflow.stdout, tensorflow.stderr).toBe(native.stdout);
      const warnings = tensorflow.stderr.match(/warning: .*/g);
      expect(warnings).toEqual([
        'warning: tensorflow backend: no GPU kernels of LlmkitAttention, LlmkitCachedAttention; ' +
          'compositions take their place',
      ]);
    },
    TIMEOUT_MS,
  );

  test.each([
    ['LoRA', []],
    ['QLoRA', ['load_in_4bit=true']],
  ])(
    'trains ten steps of %s with the same losses, merges and scores',
    async (_name, settings) => {
      const out = temporaryFolder();
      await onBoth((backend) => trainingArgs(backend, out, settings));
      const [native, tensorflow] = BACKENDS.map((backend) => lossesOf(join(out, backend)));
      expect(native?.length).toBe(10);
      expect(difference(tensorflow ?? [], native ?? [])).toBeLessThan(1e-4);
      const merged = join(out, 'merged');
      await runJson([
        ...['merge', MODEL, '--adapter', join(out, 'tensorflow'), '--output', merged],
        ...['--backend', 'tensorflow'],
      ]);
      const scores = await onBoth(() => [
        ...['eval', merged, '--tasks', 'perplexity', '--limit', '2', '--compute', 'f32'],
        ...['--data', 'perplexity=fixtures/data/tales-heldout.txt'],
      ]);
      const [exact, ours] = scores.map(({ results }) => results.perplexity['perplexity,none']);
      expect(difference([ours], [exact])).toBeLessThan(1e-4);
    },
    TIMEOUT_MS,
  );
});
