import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { runCli, runJson, temporaryFolder } from './helpers.js';

const MODEL = 'fixtures/models/tales-2m';
const folder = temporaryFolder();
const INT4 = join(folder, 'int4');
await runJson(['quantize', MODEL, '--scheme', 'int4', '-o', INT4]);

const tell = (model: string, ...flags: string[]) =>
  runJson(['generate', model, '--prompt', 'It was', '--max-new-tokens', '4', ...flags]);

test('generate computes by the format of each weight, and says in what', async () => {
  expect((await tell(MODEL)).compute).toBe('bf16 (auto: bf16 weights)');
  expect((await tell(INT4)).compute).toBe('int8 (auto: int4 weights), bf16 (auto: bf16 weights)');
  expect((await tell(INT4, '--compute', 'bf16')).compute).toBe('bf16 (int4, bf16 weights)');
  const { stderr } = await runCli(['generate', INT4, '--prompt', 'It was', '--compute', 'f32']);
  expect(stderr).toContain('compute f32 (int4, bf16 weights)');
});

test('log-probabilities and evaluations are exact unless another type is asked for', async () => {
  const exact = await tell(INT4, '--logprobs', '0');
  expect(exact.compute).toBe('f32 (auto: int4, bf16 weights)');
  const rounded = await tell(INT4, '--logprobs', '0', '--compute', 'int8');
  const [a, b] = [exact, rounded].map(({ choices }) => choices[0].logprobs.token_logprobs[0]);
  expect(b).not.toBe(a);
  expect(b).toBeCloseTo(a, 1);
  const task = ['--tasks', 'perplexity', '--data', 'perplexity=fixtures/data/tales-heldout.txt'];
  const evaluate = ['eval', INT4, ...task, '--limit', '1'];
  expect((await runJson(evaluate)).compute).toBe('f32 (auto: int4, bf16 weights)');
  expect((await runJson([...evaluate, '--compute', 'bf16'])).compute).toMatch(/^bf16 /);
});

test('lora-train computes in bf16 and resumes in the arithmetic it began in', async () => {
  const out = join(folder, 'run');
  const config = `${out}.yaml`;
  const data = join(folder, 'data.jsonl');
  writeFileSync(data, '{"prompt": "Say cat.", "completion": "A cat."}\n');
  writeFileSync(config, stringify({ model: INT4, output_dir: out, data, max_steps: 2 }));
  const trained = await runJson(['lora-train', config, '--set', 'save_steps=1']);
  expect(trained.compute).toBe('bf16 (auto: int4, bf16 weights)');
  const manifest = JSON.parse(readFileSync(join(out, 'llmkit.json'), 'utf8'));
  expect(manifest).toMatchObject({ compute: trained.compute, config: { compute: 'auto' } });
  const resume = ['lora-train', config, '--resume', '--compute'];
  const same = await runCli([...resume, 'bf16']);
  expect(same).toMatchObject({ code: 0, stderr: expect.stringContaining('compute: bf16 (int4') });
  const other = await runCli([...resume, 'f32']);
  expect(other.code).toBe(2);
  expect(other.stderr).toContain(
    'compute was "bf16 (int4, bf16 weights)" and is "f32 (int4, bf16 weights)"',
  );
  const full = [
    '--set',
    'method=full',
    '--set',
    `model=${MODEL}`,
    '--set',
    `output_dir=${out}-full`,
  ];
  const all = await runJson(['lora-train', config, ...full]);
  expect(all.compute).toBe('f32 (auto: trained weights)');
});

test.each([
  [
    [
      'lora-train',
      ...['model', 'output_dir', 'data'].flatMap((key) => ['--set', `${key}=x`]),
      '--compute',
      'int8',
    ],
    'int8 has no gradients',
  ],
  [['merge', MODEL, '--adapter', 'x', '--compute', 'bf16'], 'bf16 would hide what'],
  [['quickstart', '--compute', 'int8'], 'int8 cannot train'],
  [['generate', MODEL, '--prompt', 'x', '--compute', 'fp8'], 'auto'],
])('%j is refused', async (args, reason) => {
  const { code, stderr } = await runCli(args);
  expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(reason) });
});
