import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { runCli, runJson, spawnCli, temporaryFolder } from './helpers.js';
import { writeTinyCheckpoint } from './tiny-checkpoint.js';

const folder = temporaryFolder();
const MODEL = await writeTinyCheckpoint(join(folder, 'tiny'));
const DATA = join(folder, 'data.jsonl');
writeFileSync(
  DATA,
  ['cat', 'dog', 'sun', 'hat', 'bag']
    .map((word) => `${JSON.stringify({ prompt: `Say ${word}.`, completion: `A ${word}.` })}\n`)
    .join(''),
);

/** Writes a config of a quick run; @returns its path and its output folder */
function config(changes: Record<string, unknown> = {}): { path: string; out: string } {
  const out = join(temporaryFolder(), 'run');
  const path = `${out}.yaml`;
  const base = {
    model: MODEL,
    output_dir: out,
    data: DATA,
    lora: { r: 2, alpha: 4, dropout: 0.1 },
    max_steps: 6,
    batch_size: 2,
    learning_rate: 0.01,
    max_length: 32,
    save_steps: 2,
    seed: 5,
  };
  writeFileSync(path, stringify({ ...base, ...changes }));
  return { path, out };
}

interface Metrics {
  readonly step: number;
  readonly loss?: number;
  readonly eval_loss?: number;
}

const metrics = (out: string): Metrics[] =>
  readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
const losses = (out: string) => metrics(out).flatMap(({ loss }) => loss ?? []);
const adapterOf = (out: string) => readFileSync(join(out, 'adapter_model.safetensors'));

const whole = config();

test('trains an adapter with its logs, report and manifest', async () => {
  const { code, stdout, stderr } = await runCli(['lora-train', whole.path]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stdout).toMatch(/run: finished after 6 steps, loss \d/);
  expect(stderr).toMatch(/trainable params: 4,096 \|\| all params: [\d,]+ \|\| trainable%: \d/);
  expect(readdirSync(whole.out).sort()).toEqual([
    'README.md',
    'adapter_config.json',
    'adapter_model.safetensors',
    'checkpoint-2',
    'checkpoint-4',
    'checkpoint-6',
    'llmkit.json',
    'metrics.jsonl',
    'report.html',
    'tensorboard',
  ]);
  expect(metrics(whole.out).map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(losses(whole.out)[5]).toBeLessThan(losses(whole.out)[0] ?? 0);
  const manifest = JSON.parse(readFileSync(join(whole.out, 'llmkit.json'), 'utf8'));
  expect(manifest).toMatchObject({
    command: 'lora-train',
    seed: 5,
    template: { kind: 'chat' },
    base_model: { name: MODEL, identity: expect.stringMatching(/^[0-9a-f]{64}$/) },
    inputs: { [DATA]: expect.stringMatching(/^[0-9a-f]{64}$/) },
  });
  expect(readFileSync(join(whole.out, 'report.html'), 'utf8')).toMatch(/<svg/);
  const args = ['generate', MODEL, '--adapter', whole.out, '--chat', '--prompt', 'Say cat.'];
  expect((await runCli([...args, '--max-new-tokens', '3'])).code).toBe(0);
});

test('killed at any moment and resumed is never interrupted', async () => {
  // Steps enough that the run is not over before the signal comes.
  const [straight, { path, out }] = [config({ max_steps: 24 }), config({ max_steps: 24 })];
  await runJson(['lora-train', straight.path]);
  const child = spawnCli(['lora-train', path]);
  while (!existsSync(join(out, 'checkpoint-2')) && child.exitCode === null) await sleep(5);
  child.kill('SIGKILL');
  await new Promise((done) => child.once('close', done));
  expect(existsSync(join(out, 'adapter_model.safetensors'))).toBe(false);
  const log = join(out, 'metrics.jsonl');
  const [first = '', ...rest] = readFileSync(log, 'utf8').split('\n');
  const marked = `${first.slice(0, -1)}, "mark": 1}`;
  writeFileSync(log, [marked, ...rest].join('\n').concat('{"step":99,"lo'));
  const { code, stderr } = await runCli(['lora-train', path, '--resume']);
  expect({ code, stderr }).toMatchObject({ code: 0, stderr: /resuming from .*checkpoint-/ });
  expect(readFileSync(log, 'utf8').startsWith(`${marked}\n`)).toBe(true);
  expect(losses(out)).toEqual(losses(straight.out));
  expect(adapterOf(out).equals(adapterOf(straight.out))).toBe(true);
  expect(readdirSync(out).filter((name) => name.startsWith('.'))).toEqual([]);
});

test('with states of 8 bits, resumed is never interrupted', async () => {
  const settings = { optim: 'adamw_8bit', lora: { r: 256, alpha: 256 }, max_steps: 4 };
  const [straight, resumed] = [config(settings), config(settings)];
  for (const { path } of [straight, resumed]) await runJson(['lora-train', path]);
  rmSync(join(resumed.out, 'checkpoint-4'), { recursive: true });
  rmSync(join(resumed.out, 'adapter_model.safetensors'));
  await runJson(['lora-train', resumed.path, '--resume']);
  expect(adapterOf(resumed.out).equals(adapterOf(straight.out))).toBe(true);
  const states = (out: string) => readFileSync(join(out, 'checkpoint-4', 'training.safetensors'));
  expect(states(resumed.out).equals(states(straight.out))).toBe(true);
  expect(states(straight.out).includes('"mScales/')).toBe(true);
  const changed = await runCli(['lora-train', resumed.path, '--resume', '--set', 'optim=adamw']);
  expect(changed.stderr).toMatch(/optim was "adamw_8bit" and is "adamw"/);
});

test('SIGINT finishes the step and saves; --resume goes on', async () => {
  const { path, out } = config({ max_steps: 300, save_steps: 1000 });
  const child = spawnCli(['lora-train', path]);
  const log = join(out, 'metrics.jsonl');
  while (!(existsSync(log) && readFileSync(log).length > 0)) await sleep(5);
  child.kill('SIGINT');
  const code = await new Promise((done) => child.once('close', done));
  expect(code).toBe(130);
  const steps = metrics(out).at(-1)?.step;
  expect(existsSync(join(out, `checkpoint-${steps}`))).toBe(true);
  const changed = await runCli(['lora-train', path, '--resume', '--set', 'lora.r=4']);
  expect(changed).toMatchObject({ code: 2, stderr: /lora\.r was 2 and is 4/ });
});

test('an existing output is refused; --force starts anew, --resume without a checkpoint at 0', async () => {
  const { path, out } = config({ max_steps: 1 });
  const fresh = await runCli(['lora-train', path, '--resume']);
  expect(fresh).toMatchObject({ code: 0, stderr: /no checkpoint yet, starting at step 0/ });
  const refused = await runCli(['lora-train', path]);
  expect(refused).toMatchObject({ code: 2, stderr: /exists already; --resume .* --force/ });
  const again = await runCli(['lora-train', path, '--force', '--set', 'max_steps=2']);
  expect(again.code).toBe(0);
  expect(losses(out)).toHaveLength(2);
  expect(readdirSync(out).filter((name) => name.startsWith('checkpoint'))).toEqual([
    'checkpoint-2',
  ]);
  const own = await runCli(['lora-train', path, '--force', '-o', MODEL]);
  expect(own).toMatchObject({ code: 2, stderr: /--force does not clear it/ });
  expect(existsSync(join(MODEL, 'model.safetensors'))).toBe(true);
});

test.each([{ scheme: 'nf4', double_quant: true }, { scheme: 'int4' }, { scheme: 'int8' }])(
  'QLoRA on %j with packing, evaluation and the best checkpoint',
  async (quantization) => {
    const { path, out } = config({
      load_in_4bit: true,
      quantization,
      packing: true,
      eval_data: [{ path: DATA, format: 'prompt_completion' }],
      eval_steps: 2,
      load_best_at_end: true,
      save_total_limit: 1,
      gradient_checkpointing: true,
    });
    const result = await runJson(['lora-train', path]);
    expect(result).toMatchObject({ output: out, end: 'finished', steps: 6, best_eval: {} });
    expect(metrics(out).flatMap(({ eval_loss }) => eval_loss ?? [])).toHaveLength(3);
    const { base_model } = JSON.parse(readFileSync(join(out, 'llmkit.json'), 'utf8'));
    expect(base_model.quantized.scheme).toBe(quantization.scheme);
    expect(base_model.quantized.identity).not.toBe(base_model.identity);
  },
);

test('method: full writes a checkpoint; init: random makes a new model', async () => {
  const full = config({ method: 'full', max_steps: 2, learning_rate: 1e-3 });
  expect((await runCli(['lora-train', full.path])).code).toBe(0);
  const random = config({
    method: 'full',
    init: 'random',
    model: undefined,
    tokenizer: MODEL,
    model_config: join(MODEL, 'config.json'),
    max_steps: 2,
    dtype: 'bf16',
  });
  expect((await runCli(['lora-train', random.path])).code).toBe(0);
  for (const { out } of [full, random]) {
    const args = ['generate', out, '--prompt', 'Say', '--max-new-tokens', '2'];
    expect((await runCli(args)).code).toBe(0);
  }
  const { dtype } = JSON.parse(readFileSync(join(random.out, 'config.json'), 'utf8'));
  expect(dtype).toBe('bfloat16');
});

test('--dry-run shows examples with the masked part marked and writes nothing', async () => {
  const { path, out } = config();
  const { code, stdout } = await runCli(['lora-train', path, '--dry-run']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/data\.jsonl:1: \d+ tokens, \d+ trained/);
  expect(stdout).toMatch(/⟦[^⟧]*Say cat\.[^⟧]*⟧A cat\./);
  expect(stdout).toMatch(/trainable params: 4,096 \|\| .*\nmemory peak: about \d+ MB/);
  expect(existsSync(out)).toBe(false);
  const trained = await runJson(['lora-train', whole.path, '--resume']);
  const plan = await runJson(['lora-train', path, '--dry-run']);
  expect(plan.trainable_params).toBe(trained.trainable_params);
  expect(plan.all_params).toBe(trained.all_params);
});

test('a loss that is not finite stops the run and keeps the last checkpoint', async () => {
  const { path, out } = config({ learning_rate: 1e30, lr_scheduler: 'constant', save_steps: 1 });
  const result = await runCli(['lora-train', path]);
  expect(result).toMatchObject({ code: 1, stdout: '' });
  expect(result.stderr).toMatch(
    /step 2: expected a finite loss .* on examples \d \(.*data\.jsonl:\d\)/,
  );
  expect(readdirSync(out).sort()).toEqual(['checkpoint-1', 'metrics.jsonl', 'tensorboard']);
  expect(metrics(out)).toHaveLength(1);
});

test('mistakes are one error that names the key, the file or the line', async () => {
  const fails = async (changes: Record<string, unknown>, message: RegExp, code = 2) => {
    const { path, out } = config(changes);
    const result = await runCli(['lora-train', path]);
    expect(result).toMatchObject({ code, stdout: '', stderr: message });
    expect(result.stderr).not.toMatch(/\n\s+at /);
    expect(existsSync(out)).toBe(false);
  };
  await fails(
    { learning_rat: 1, max_step: 3 },
    /did you mean learning_rate\?[\s\S]*mean max_steps\?/,
  );
  await fails({ lora: { alfa: 8 } }, /lora\.alfa is not a known key; did you mean alpha\?/);
  await fails(
    { data: [{ pat: DATA }] },
    /data\[?\.?0.*pat is not a known key; did you mean path\?/,
  );
  await fails({ method: 'full', load_in_4bit: true }, /load_in_4bit needs `method: lora`/);
  await fails({ early_stopping_patience: 2 }, /early_stopping_patience needs eval_data/);
  await fails({ data: undefined, model: undefined }, /data is missing[\s\S]*model is missing/);
  await fails({ max_length: 4096 }, /max_length: must be at most the model's context of 128/);
  await fails({ lora: { target_modules: ['query'] } }, /"query" matches no linear layer/);
  await fails({ lora: { target_modules: 'q_proj' } }, /"q_proj" matches .* names go into a list/);
  await fails({ lora: { target_modules: '((' } }, /lora: "\(\(" is not a regular expression/);
  await fails({ data: join(folder, 'none.jsonl') }, /none\.jsonl/);
  await fails({ model: join(folder, 'nowhere') }, /nowhere/, 1);
  const bad = join(folder, 'bad.jsonl');
  writeFileSync(bad, '{"text": "fine"}\n{"text": \n');
  await fails({ data: [{ path: bad }] }, /bad\.jsonl:2: expected a JSON object/);
  const missing = await runCli(['lora-train', join(folder, 'none.yaml')]);
  expect(missing).toMatchObject({ code: 2, stderr: /none\.yaml/ });
});
