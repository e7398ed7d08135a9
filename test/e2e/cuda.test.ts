import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { testedBackends } from '../helpers/backends.js';
import { useCuda } from '../helpers/cuda.js';
import { runCli, runJson, spawnCli, temporaryFolder } from './helpers.js';
import { writeTinyCheckpoint } from './tiny-checkpoint.js';

const DEVICES = ['cpu', 'cuda'] as const;
const TIMEOUT_MS = 300_000;
const isTested = testedBackends.includes('cuda');
const IS_GPU = isTested && !(await useCuda()).deviceInfo().emulated;
const MODEL = isTested ? await writeTinyCheckpoint(join(temporaryFolder(), 'tiny')) : '';

const WEIGHTS = 'model.safetensors';

/** Many weights, none of which is a large part of all. */
const DEEP_MODEL = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 1024,
  hidden_size: 128,
  intermediate_size: 512,
  num_hidden_layers: 8,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
};

/** Runs a command on both devices; the documents in the order of DEVICES. */
async function onBoth(args: (device: string) => readonly string[]) {
  const documents = [];
  for (const device of DEVICES) {
    documents.push(await runJson([...args(device), '--device', device]));
  }
  return documents;
}

/** max |a − b| / max |b| */
function difference(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length);
  const largest = Math.max(...b.map(Math.abs));
  return Math.max(...a.map((x, i) => Math.abs(x - (b[i] ?? Number.NaN)))) / largest;
}

function lossesOf(folder: string): number[] {
  const lines = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return lines.flatMap((line) => (JSON.parse(line) as { loss?: number }).loss ?? []);
}

/** Of every choice of every document that a run of `eval` logged. */
function logLikelihoodsOf(folder: string): number[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  const logs = files.filter((name) => basename(name).startsWith('samples_'));
  return logs.flatMap((name) => {
    const lines = readFileSync(join(folder, name), 'utf8').trim().split('\n');
    return lines.flatMap((line) =>
      (JSON.parse(line) as { resps: [[number, boolean]][] }).resps.map(([[value]]) => value),
    );
  });
}

/** Starts a command and ends it at once when `isTime`. @returns whether it was still at work */
async function kill(args: readonly string[], isTime: () => boolean): Promise<boolean> {
  const child = spawnCli([...args, '--device', 'cuda']);
  const closed = new Promise((done) => child.once('close', done));
  while (!isTime() && child.exitCode === null) await sleep(2);
  child.kill('SIGKILL');
  await closed;
  return child.signalCode === 'SIGKILL';
}

/** A file of texts to train on. */
function trainingData(): string {
  const data = join(temporaryFolder(), 'data.jsonl');
  const text = (i: number) => `Nina went to the ${['lake', 'hotel', 'garden'][i % 3]} with Felix.`;
  const lines = Array.from({ length: 12 }, (_, i) => JSON.stringify({ text: text(i) }));
  writeFileSync(data, lines.join('\n'));
  return data;
}

/** A training run of a few steps, and where it writes. */
function trainingArgs(output: string, compute: string): string[] {
  const sets = [
    `model=${MODEL}`,
    `output_dir=${output}`,
    `data={path: ${trainingData()}, format: text}`,
    'lora={r: 4, alpha: 8, dropout: 0.1}',
    'learning_rate=1e-3',
    'max_length=24',
    'batch_size=2',
    'max_steps=3',
    'load_in_4bit=true',
    `compute=${compute}`,
  ];
  return ['lora-train', ...sets.flatMap((set) => ['--set', set])];
}

describe.runIf(isTested)('--device cuda beside cpu', () => {
  test.each(['nf4', 'int4'])(
    'quantizes to %s with the same bytes',
    async (scheme) => {
      const out = temporaryFolder();
      await onBoth((device) => [
        ...['quantize', MODEL, '--output', join(out, device), '--scheme', scheme],
      ]);
      const [cpu, cuda] = DEVICES.map((device) =>
        readFileSync(join(out, device, 'model.safetensors')),
      );
      expect(cuda?.equals(cpu as Buffer)).toBe(true);
      const records = DEVICES.map((device) => {
        const record = JSON.parse(readFileSync(join(out, device, 'llmkit.json'), 'utf8'));
        return { ...record, timings: null };
      });
      expect(records[1]).toEqual({ ...records[0], device: 'cuda' });
    },
    TIMEOUT_MS,
  );

  test(
    'writes the same greedy text',
    async () => {
      const [cpu, cuda] = await onBoth(() => [
        ...['generate', MODEL, '--prompt', 'Nina went to the', '--temperature', '0'],
        ...['--max-new-tokens', '6', '--compute', 'f32'],
      ]);
      expect(cuda.backend).toMatch(/^native \(cuda, /);
      expect(cuda.choices[0].ids).toEqual(cpu.choices[0].ids);
    },
    TIMEOUT_MS,
  );

  test.each([
    ['f32', 1e-4],
    ['bf16', 2e-2],
  ] as const)(
    'trains QLoRA in %s with the same losses, merges and scores',
    async (compute, tolerance) => {
      const out = temporaryFolder();
      const results = await onBoth((device) => trainingArgs(join(out, device), compute));
      expect(results[0].peak_device_bytes).toBeUndefined();
      expect(results[1].peak_device_bytes).toBeGreaterThan(statSync(join(MODEL, WEIGHTS)).size / 4);
      const [cpu, cuda] = DEVICES.map((device) => lossesOf(join(out, device)));
      expect(cpu?.length).toBe(3);
      expect(difference(cuda ?? [], cpu ?? [])).toBeLessThan(tolerance);
      expect(JSON.parse(readFileSync(join(out, 'cuda', 'llmkit.json'), 'utf8')).device).toBe(
        'cuda',
      );
      const merged = join(out, 'merged');
      const adapter = ['--adapter', join(out, 'cuda'), '--output', merged];
      await runJson(['merge', MODEL, ...adapter, '--device', 'cuda']);
      const scores = await onBoth(() => [
        ...['eval', merged, '--tasks', 'perplexity', '--limit', '1', '--compute', compute],
        ...['--data', 'perplexity=fixtures/data/tales-heldout.txt'],
      ]);
      const [exact, ours] = scores.map(({ results }) => results.perplexity['perplexity,none']);
      expect(difference([ours], [exact])).toBeLessThan(tolerance);
    },
    TIMEOUT_MS,
  );

  test(
    'scores tasks with the same log-likelihoods',
    async () => {
      const data = join(temporaryFolder(), 'questions.jsonl');
      const question = { question: 'Nina went to the', choices: [' lake', ' old hotel'], label: 1 };
      writeFileSync(data, JSON.stringify(question));
      const tasks = {
        hellaswag: 'fixtures/data/endings.jsonl',
        classification: 'fixtures/data/sentiment-test.jsonl',
        multiple_choice: data,
      };
      const given = Object.entries(tasks).flatMap(([task, path]) => ['--data', `${task}=${path}`]);
      const out = temporaryFolder();
      const [cpu, cuda] = await onBoth((device) => [
        ...['eval', MODEL, '--tasks', Object.keys(tasks).join(','), ...given, '--limit', '2'],
        ...['--labels', 'positive,negative,neutral', '--log-samples', '-o', join(out, device)],
      ]);
      expect(cuda.results).toEqual(cpu.results);
      const [exact, ours] = DEVICES.map((device) => logLikelihoodsOf(join(out, device)));
      expect(exact?.length).toBe(2 * 4 + 2 * 3 + 2);
      expect(difference(ours ?? [], exact ?? [])).toBeLessThan(1e-4);
    },
    TIMEOUT_MS,
  );

  test(
    'killed in the middle leaves nothing half written, and training goes on',
    async () => {
      const out = temporaryFolder();
      const train = (folder: string) => [
        ...trainingArgs(join(out, folder), 'f32'),
        ...['--set', 'save_steps=1'],
      ];
      await runJson([...train('whole'), '--device', 'cuda']);
      const checkpoint = join(out, 'killed', 'checkpoint-1');
      expect(await kill(train('killed'), () => existsSync(checkpoint))).toBe(true);
      const weights = join(out, 'killed', 'adapter_model.safetensors');
      expect(existsSync(weights)).toBe(false);
      await runJson([...train('killed'), '--resume', '--device', 'cuda']);
      const whole = readFileSync(join(out, 'whole', 'adapter_model.safetensors'));
      expect(readFileSync(weights).equals(whole)).toBe(true);

      const folder = join(out, 'quantized');
      mkdirSync(folder);
      const quantize = (name: string) => [
        ...['quantize', MODEL, '--output', join(folder, name), '--scheme', 'nf4'],
      ];
      await kill(quantize('killed'), () => readdirSync(folder).length > 0);
      // Where the signal came late, the whole output is there.
      if (!existsSync(join(folder, 'killed'))) {
        await runJson([...quantize('killed'), '--device', 'cuda']);
      }
      await runJson([...quantize('whole'), '--device', 'cuda']);
      const [killed, complete] = ['killed', 'whole'].map((name) =>
        readFileSync(join(folder, name, WEIGHTS)),
      );
      expect(killed?.equals(complete as Buffer)).toBe(true);
    },
    TIMEOUT_MS,
  );

  test(
    'trains all weights of a model that is larger than the GPU, to the same bytes',
    async () => {
      const out = temporaryFolder();
      const sets = [
        ...['method=full', 'init=random', 'tokenizer=fixtures/models/tales-2m', 'dtype=f32'],
        `model_config=${join(out, 'config.json')}`,
        `data={path: ${trainingData()}, format: text}`,
        ...['max_length=4', 'batch_size=1', 'max_steps=2', 'save_steps=1'],
      ];
      writeFileSync(join(out, 'config.json'), JSON.stringify(DEEP_MODEL));
      const train = (folder: string, ...args: string[]) => {
        const flags = [...sets, `output_dir=${join(out, folder)}`].flatMap((set) => ['--set', set]);
        return runJson(['lora-train', ...flags, '--device', 'cuda', ...args]);
      };
      await train('whole');
      // 8.9 MB of weights, 36 MB with their gradients and the optimizer's states.
      const memory = ['--set', 'device_map=auto', '--set', 'max_memory=8MB'];
      await train('paged', ...memory);
      const [whole, paged] = ['whole', 'paged'].map((folder) =>
        readFileSync(join(out, folder, 'model.safetensors')),
      );
      expect(paged?.equals(whole as Buffer)).toBe(true);
      rmSync(join(out, 'paged', 'checkpoint-2'), { recursive: true });
      rmSync(join(out, 'paged', 'model.safetensors'));
      await train('paged', ...memory, '--resume');
      const resumed = readFileSync(join(out, 'paged', 'model.safetensors'));
      expect(resumed.equals(whole as Buffer)).toBe(true);
    },
    TIMEOUT_MS,
  );

  test('backend list shows every GPU, what the driver knows and which driver is needed', async () => {
    const env = { LLMKIT_EMULATED_DEVICES: '2' };
    const { backends } = await runJson(['backend', 'list'], { env });
    const { gpu } = backends.find(({ name }: { name: string }) => name === 'native').cuda;
    const { name, memoryBytes, computeCapability } = gpu;
    expect(gpu.shown[0]).toEqual({ name, memoryBytes, computeCapability });
    if (gpu.emulated) expect(gpu.shown).toHaveLength(2);
    const { stdout } = await runCli(['backend', 'list'], { env });
    expect(stdout).toMatch(
      / CUDA [\d.]+ by (the driver|driver [\d.]+), built with [\d.]+ \(driver \d+ or newer\)/,
    );
    expect(stdout.match(/cuda: .* GiB, .*: not used \(CUDA_VIS/g) ?? []).toHaveLength(
      gpu.shown.length - 1,
    );
  });

  test.skipIf(IS_GPU)(
    'compares products of warpgroups when the device is opened: training has a type of its own where they differ',
    async () => {
      const env = { LLMKIT_EMULATED_SHARED: '232448' };
      const same = await runCli(['backend', 'list'], { env });
      expect(same.stdout).toContain("wgmma gives mma.sync's bits: yes");
      const differing = { ...env, LLMKIT_EMULATED_WARPGROUPS: 'other' };
      const other = await runCli(['backend', 'list'], { env: differing });
      expect(other.stdout).toContain("wgmma gives mma.sync's bits: no; it serves training");
      const out = temporaryFolder();
      const train = (folder: string, compute: string, options: object) =>
        runJson([...trainingArgs(join(out, folder), compute), '--device', 'cuda'], options);
      const trained = await train('differing', 'auto', { env: differing });
      expect(trained.compute).toMatch(/^bf16-wgmma \(auto: nf4 weights\)/);
      const record = JSON.parse(readFileSync(join(out, 'differing', 'llmkit.json'), 'utf8'));
      expect(record.compute).toBe(trained.compute);
      expect((await train('same', 'auto', { env })).compute).toMatch(/^bf16 \(auto: nf4 weights\)/);
      const [differed, was] = ['differing', 'same'].map((folder) => lossesOf(join(out, folder)));
      expect(difference(differed ?? [], was ?? [])).toBeLessThan(2e-2);
      const generate = ['generate', MODEL, '--prompt', 'x', '--device', 'cuda'];
      const refused = await runCli([...generate, '--compute', 'bf16-wgmma'], { env });
      expect(refused.stderr).toContain('--compute bf16-wgmma is for training; use bf16');
      expect(refused.code).toBe(2);
    },
    TIMEOUT_MS,
  );

  test('refuses int8 products', async () => {
    const args = ['generate', MODEL, '--prompt', 'x', '--device', 'cuda', '--compute', 'int8'];
    const { code, stderr } = await runCli(args);
    expect(stderr).toContain('--compute int8 has no CUDA kernels; use bf16');
    expect(code).toBe(2);
  });
});
