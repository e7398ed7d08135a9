import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { runCli, runJson, temporaryFolder } from './helpers.js';

const MODEL = 'fixtures/models/tales-2m';
const folder = temporaryFolder();
const INT4 = join(folder, 'int4');
await runJson(['quantize', MODEL, '--scheme', 'int4', '-o', INT4]);

const PROMPT = ['--prompt', 'It was', '--max-new-tokens', '4'];
const F32 = ['--compute', 'f32'];

const tell = (model: string, ...flags: string[]) =>
  runJson(['generate', model, ...PROMPT, ...flags]);

test('generate computes by the format of each weight, and says in what', async () => {
  expect((await tell(MODEL)).compute).toBe('bf16 (auto: bf16 weights)');
  expect((await tell(INT4)).compute).toBe('int8 (auto: int4 weights), bf16 (auto: bf16 weights)');
  expect((await tell(INT4, '--compute', 'bf16')).compute).toBe('bf16 (int4, bf16 weights)');
  const { stderr } = await runCli(['generate', INT4, '--prompt', 'It was', '--compute', 'f32']);
  expect(stderr).toContain('compute f32 (int4, bf16 weights)');
});

test('generate keeps keys and values in bf16 unless all is float32, and says so', async () => {
  expect((await tell(INT4)).kv_dtype).toBe('bf16');
  expect((await tell(INT4, '--kv-dtype', 'int8')).kv_dtype).toBe('int8');
  expect((await tell(MODEL, '--compute', 'f32')).kv_dtype).toBe('f32');
  expect((await tell(MODEL, '--logprobs', '0')).kv_dtype).toBe('f32');
  expect((await tell(MODEL, '--kv-dtype', 'f32')).compute).toBe('bf16 (auto: bf16 weights)');
  const { stderr } = await runCli(['generate', INT4, '--prompt', 'It was', '--kv-dtype', 'f32']);
  expect(stderr).toContain('· kv f32');
  const planned = await Promise.all(
    [['auto'], ['int8'], ['auto', '--compute', 'f32']].map(([dtype = '', ...flags]) =>
      tell(MODEL, '--dry-run', '--kv-dtype', dtype, ...flags),
    ),
  );
  expect(planned.map((plan) => plan.kv_dtype)).toEqual(['bf16', 'int8', 'f32']);
  const [half, quarter, whole] = planned.map((plan) => plan.cache_bytes);
  expect(whole).toBe(2 * half);
  expect(quarter).toBeLessThan(half);
});

test('rounded keys and values change log-probabilities a little, and nothing else', async () => {
  const text = ['--prompt', 'One day Anna visited the', '--echo', '--compute', 'f32'];
  const scored = (dtype: string) =>
    tell(MODEL, ...text, '--logprobs', '0', '--kv-dtype', dtype).then(
      ({ choices }) => choices[0].logprobs.token_logprobs.slice(1) as number[],
    );
  const exact = await scored('f32');
  for (const dtype of ['bf16', 'int8']) {
    const rounded = await scored(dtype);
    expect(rounded).not.toEqual(exact);
    rounded.forEach((logprob, i) => {
      expect(logprob).toBeCloseTo(exact[i] as number, 1);
    });
  }
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

test('lora-train dequantizes to bf16 and resumes in the arithmetic it began in', async () => {
  const out = join(folder, 'run');
  const config = `${out}.yaml`;
  const data = join(folder, 'data.jsonl');
  writeFileSync(data, '{"prompt": "Say cat.", "completion": "A cat."}\n');
  writeFileSync(config, stringify({ model: INT4, output_dir: out, data, max_steps: 2 }));
  const trained = await runJson(['lora-train', config, '--set', 'save_steps=1']);
  const types = 'bf16-dequantized (auto: int4 weights), bf16 (auto: bf16 weights)';
  expect(trained.compute).toBe(types);
  const manifest = JSON.parse(readFileSync(join(out, 'llmkit.json'), 'utf8'));
  expect(manifest).toMatchObject({ compute: trained.compute, config: { compute: 'auto' } });
  const resume = ['lora-train', config, '--resume', '--compute'];
  const same = await runCli([...resume, 'bf16-dequantized']);
  const said = expect.stringContaining('compute: bf16-dequantized (int4');
  expect(same).toMatchObject({ code: 0, stderr: said });
  const other = await runCli([...resume, 'bf16']);
  expect(other.code).toBe(2);
  expect(other.stderr).toContain(
    'compute was "bf16-dequantized (int4 weights), bf16 (bf16 weights)" and is "bf16 (int4, bf16 weights)"',
  );
});

test('full training computes in bf16 from a 16-bit checkpoint, unless told not to', async () => {
  const data = join(folder, 'full.jsonl');
  writeFileSync(data, '{"prompt": "Say cat.", "completion": "A cat."}\n');
  const train = (name: string, ...more: string[]) => {
    const values = { model: MODEL, output_dir: join(folder, name), data, max_steps: 1 };
    const config = join(folder, `${name}.yaml`);
    writeFileSync(config, stringify({ ...values, method: 'full' }));
    return runJson(['lora-train', config, ...more]);
  };
  expect((await train('rounded')).compute).toBe('bf16 (auto: trained weights)');
  expect((await train('exact', '--compute', 'f32')).compute).toBe('f32 (trained weights)');
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
  [['quickstart', '--compute', 'bf16-dequantized'], 'bf16-dequantized only trains'],
  [['generate', MODEL, '--prompt', 'x', '--compute', 'bf16-dequantized'], 'is for training'],
  [['generate', MODEL, '--prompt', 'x', '--compute', 'fp8'], 'auto'],
])('%j is refused', async (args, reason) => {
  const { code, stderr } = await runCli(args);
  expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(reason) });
});

test('packed weights that are kept beside the model change no result', async () => {
  const first = await tell(INT4, '--cache-packed');
  expect(readdirSync(INT4)).toContain('packed-int8.llmkit');
  const ids = ({ choices }: { choices: { ids: number[] }[] }) => choices.map(({ ids }) => ids);
  expect(ids(first)).toEqual(ids(await tell(INT4)));
  const { stdout, stderr } = await runCli([
    'generate',
    INT4,
    ...PROMPT,
    '--cache-packed',
    '--json',
  ]);
  expect(ids(JSON.parse(stdout))).toEqual(ids(first));
  expect(stderr).not.toContain('warning');
});

test('in float32 there is nothing to keep', async () => {
  const { stderr } = await runCli(['generate', INT4, ...PROMPT, '--cache-packed', ...F32]);
  expect(stderr).toContain('nothing is packed for products in float32');
});

test('lora-train and eval keep packed weights too', async () => {
  const [out, data] = [join(folder, 'kept'), join(folder, 'kept.jsonl')];
  writeFileSync(data, '{"prompt": "Say cat.", "completion": "A cat."}\n');
  const config = `${out}.yaml`;
  const run = { model: INT4, output_dir: out, data, max_steps: 1, cache_packed: true };
  writeFileSync(config, stringify(run));
  const first = await runJson(['lora-train', config]);
  expect(readdirSync(INT4)).toContain('packed-bf16-dequantized.llmkit');
  const second = await runJson(['lora-train', config, '--force']);
  expect(second.final_loss).toBe(first.final_loss);
  const full = await runCli(['lora-train', config, '--force', '--set', 'method=full']);
  expect(full).toMatchObject({ code: 2, stderr: expect.stringContaining('cache_packed') });
  const task = ['--tasks', 'perplexity', '--data', 'perplexity=fixtures/data/tales-heldout.txt'];
  const evaluate = ['eval', INT4, ...task, '--limit', '1', '--compute', 'bf16'];
  const kept = await runJson([...evaluate, '--cache-packed']);
  expect(kept.results).toEqual((await runJson(evaluate)).results);
});
