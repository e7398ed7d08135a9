import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readSafetensors } from '../../src/checkpoint/checkpoint.js';
import { writeSafetensors } from '../../src/checkpoint/writer.js';
import { runCli, runJson, temporaryFolder } from './helpers.js';
import { writeTinyCheckpoint } from './tiny-checkpoint.js';

const ROOT = temporaryFolder();
const MODEL = await writeTinyCheckpoint(join(ROOT, 'tiny'));
const QUANTIZED = join(ROOT, 'tiny-int4');
const FLAGS = ['--scheme', 'int4', '--head', 'int8'];
const PROMPT = ['--prompt', 'the bird', '--max-new-tokens', '8'];
const plan = await runJson(['quantize', MODEL, '-o', QUANTIZED, ...FLAGS, '--dry-run']);
const result = await runJson(['quantize', MODEL, '-o', QUANTIZED, ...FLAGS]);
const configOf = (folder: string) => JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
const idsOf = async (args: readonly string[]): Promise<number[]> =>
  (await runJson(['generate', ...args, ...PROMPT])).choices[0].ids;

async function withTensors(folder: string, change: (tensors: Map<string, never>) => void) {
  await writeTinyCheckpoint(folder);
  const path = join(folder, 'model.safetensors');
  const file = await readSafetensors(path);
  const tensors = new Map(
    [...file.tensors].map(([name, tensor]) => [
      name,
      { ...tensor, bytes: file.bytes(name).slice() } as never,
    ]),
  );
  file.close();
  change(tensors);
  await writeSafetensors(path, tensors, { format: 'pt' });
  return folder;
}

test('a tied head gets codes of its own, beside the embedding as it was', async () => {
  expect(result.tensors).toHaveLength(15);
  const head = result.tensors.find(({ name }: { name: string }) => name === 'lm_head.weight');
  expect(head).toMatchObject({ scheme: 'int8', shape: [1024, 64], group_size: 64 });
  expect(head.relative_error).toBeLessThan(0.01);
  // Codes, a float32 scale per row of one group, and the shape.
  expect(head).toMatchObject({ bytes_before: 0, bytes_after: 1024 * 64 + 1024 * 4 + 16 });
  expect(plan.bytes_after).toBe(result.bytes_after);
  // Both are in memory at one time: the table in float32, and what is made of it.
  const [shared, made] = [1024 * 64 * 4, head.bytes_after];
  expect(plan.dry_run.memory_peak_bytes).toBe(200e6 + shared + made);
  expect(configOf(QUANTIZED)).toMatchObject({
    tie_word_embeddings: false,
    quantization_config: { config_groups: { group_1: { targets: ['lm_head'] } }, ignore: [] },
  });
  const [before, after] = await Promise.all(
    [MODEL, QUANTIZED].map((folder) => readSafetensors(join(folder, 'model.safetensors'))),
  );
  const table = 'model.embed_tokens.weight';
  expect(Buffer.from(after?.bytes(table) ?? []).equals(before?.bytes(table) as never)).toBe(true);
  before?.close();
  after?.close();
});

test('a file that has the shared matrix as the head, or twice, gives the same tensors', async () => {
  const table = 'model.embed_tokens.weight';
  const renamed = await withTensors(join(ROOT, 'renamed'), (tensors) => {
    tensors.set('lm_head.weight', tensors.get(table) as never);
    tensors.delete(table);
  });
  const twice = await withTensors(join(ROOT, 'twice'), (tensors) => {
    tensors.set('lm_head.weight', tensors.get(table) as never);
  });
  const expected = await idsOf([QUANTIZED]);
  for (const model of [renamed, twice]) {
    const out = `${model}-int4`;
    const { bytes_after } = await runJson(['quantize', model, '-o', out, ...FLAGS]);
    expect(bytes_after).toBe(result.bytes_after);
    expect(await idsOf([out])).toEqual(expected);
  }
});

test('packed weights kept beside it give the same text', async () => {
  const plain = await idsOf([QUANTIZED]);
  expect(await idsOf([QUANTIZED, '--cache-packed'])).toEqual(plain); // writes the cache
  expect(await idsOf([QUANTIZED, '--cache-packed'])).toEqual(plain);
});

test('is a base to train on, and to merge onto', async () => {
  const data = join(ROOT, 'data.jsonl');
  writeFileSync(data, '{"prompt":"Say cat.","completion":"A cat."}\n');
  const adapter = join(ROOT, 'adapter');
  const sets = { model: QUANTIZED, data, output_dir: adapter, max_steps: 2, max_length: 32 };
  const flags = Object.entries(sets).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
  expect(await runCli(['lora-train', ...flags])).toMatchObject({ code: 0 });
  const merged = join(ROOT, 'merged');
  await runJson(['merge', QUANTIZED, '--adapter', adapter, '-o', merged]);
  expect(configOf(merged).tie_word_embeddings).toBe(false);
  expect(await idsOf([merged, '--compute', 'f32'])).toEqual(
    await idsOf([QUANTIZED, '--adapter', adapter, '--compute', 'f32']),
  );
  const onto = ['--onto', 'original', '--original', MODEL, '-o', join(ROOT, 'onto-original')];
  const { output } = await runJson(['merge', QUANTIZED, '--adapter', adapter, ...onto]);
  expect(configOf(output).tie_word_embeddings).toBe(true);
  const anew = await runCli(['merge', MODEL, '--adapter', adapter, '-o', join(ROOT, 'anew')]);
  expect(anew).toMatchObject({ code: 1, stderr: expect.stringContaining('quantize --head') });
});

test('transformers scores a text as we do', async () => {
  const golden = JSON.parse(readFileSync('fixtures/golden/quantized-head.json', 'utf8'));
  const out = join(ROOT, 'tales-int4');
  await runCli(['quantize', join('fixtures', 'models', 'tales-2m'), '-o', out, ...FLAGS]);
  const score = ['--prompt', golden.text, '--max-new-tokens', '0', '--echo', '--logprobs', '1'];
  const { choices } = await runJson(['generate', out, ...score]);
  const { ids, token_logprobs } = choices[0].logprobs;
  expect(ids).toEqual(golden.ids);
  token_logprobs.slice(1).forEach((logprob: number, i: number) => {
    expect(Math.abs(logprob - golden.token_logprobs[i])).toBeLessThan(
      1e-4 * Math.abs(golden.token_logprobs[i]),
    );
  });
});

test('eval scores it', async () => {
  const text = join(ROOT, 'text.txt');
  writeFileSync(text, 'the small bird sat on the old wall and sang. '.repeat(8));
  const { perplexity } = await runJson([
    ...['quantize', MODEL, '-o', join(ROOT, 'calibrated'), '--bits', '8', '--head', 'int8'],
    ...['--calib', text],
  ]);
  expect(perplexity.after / perplexity.before).toBeCloseTo(1, 1);
});

test.each([
  [['--head', 'int8'], 'bitsandbytes holds no int8 head beside nf4 layers; use --head nf4'],
  [['--head', 'int9'], 'nf4, fp4, int4 or int8'],
])('a mistake: %j', async (flags, words) => {
  const { code, stderr } = await runCli(['quantize', MODEL, '-o', join(ROOT, 'none'), ...flags]);
  expect(code).toBe(2);
  expect(stderr).toContain(words);
});
