import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSafetensors } from '../../src/checkpoint/checkpoint.js';
import { runCli, runJson, temporaryFolder } from './helpers.js';
import { writeTinyCheckpoint } from './tiny-checkpoint.js';

const ROOT = temporaryFolder();
const MODEL = await writeTinyCheckpoint(join(ROOT, 'tiny'));
const BUNDLED = 'fixtures/models/tales-2m';
const output = (name: string) => join(ROOT, name);

describe.each([
  { scheme: 'nf4', flags: ['--bits', '4'], layout: 'bitsandbytes' },
  { scheme: 'nf4', flags: ['--double-quant'], layout: 'bitsandbytes' },
  { scheme: 'fp4', flags: ['--scheme', 'fp4'], layout: 'bitsandbytes' },
  { scheme: 'int4', flags: ['--scheme', 'int4'], layout: 'compressed-tensors' },
  { scheme: 'int4', flags: ['--scheme', 'int4', '--asymmetric'], layout: 'compressed-tensors' },
  { scheme: 'int8', flags: ['--bits', '8'], layout: 'compressed-tensors' },
])('$scheme $flags', ({ scheme, flags, layout }) => {
  test('writes a folder that generate reads, and reports on it', async () => {
    const out = output([scheme, ...flags].join('_'));
    const result = await runJson(['quantize', MODEL, '-o', out, ...flags]);
    expect(result).toMatchObject({ output: out, scheme });
    expect(result.tensors).toHaveLength(14);
    expect(result.bytes_after).toBeLessThan(result.bytes_before);
    for (const { relative_error: error } of result.tensors) expect(error).toBeLessThan(0.15);
    const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'));
    expect(config).toMatchObject({
      model_type: 'llama',
      quantization_config: { quant_method: layout },
    });
    const text = await runJson(['generate', out, '--prompt', 'the bird', '--max-new-tokens', '4']);
    expect(text.choices[0].ids).toHaveLength(4);
  });
});

describe.each([
  { flags: ['--bits', '4'], left: 0.95 },
  { flags: ['--double-quant'], left: 0.95 },
  { flags: ['--scheme', 'fp4'], left: 0.96 },
  { flags: ['--scheme', 'int4'], left: 0.95 },
  { flags: ['--scheme', 'int4', '--asymmetric', '--head', 'int8'], left: 0.97 },
  { flags: ['--bits', '8'], left: 1 },
])('--search $flags', ({ flags, left }) => {
  test('the same tensors of the same sizes, with a smaller error', async () => {
    const name = ['tales', ...flags].join('_');
    const [before, after] = [output(name), output(`${name}_search`)];
    const nearest = await runJson(['quantize', BUNDLED, '-o', before, ...flags]);
    const searched = await runJson(['quantize', BUNDLED, '-o', after, ...flags, '--search']);
    expect([nearest.method, searched.method]).toEqual(['rtn', 'search']);
    expect(searched.bits_per_weight).toBeCloseTo(nearest.bits_per_weight, 2);
    expect(await layoutOf(after)).toEqual(await layoutOf(before));
    const mean = ({ tensors }: { tensors: { relative_error: number }[] }) =>
      tensors.reduce((sum, tensor) => sum + tensor.relative_error, 0) / tensors.length;
    expect(mean(searched)).toBeLessThan(left * mean(nearest));
    const manifest = JSON.parse(readFileSync(join(after, 'llmkit.json'), 'utf8'));
    expect(manifest.config.method).toBe('search');
  });
});

/** Names, types and shapes of a checkpoint's tensors, but for the text of numbers in bitsandbytes' records. */
async function layoutOf(folder: string): Promise<unknown[]> {
  const file = await readSafetensors(join(folder, 'model.safetensors'));
  file.close();
  return [...file.tensors.values()]
    .filter(({ name }) => !name.includes('.quant_state.'))
    .map(({ name, dtype, shape }) => ({ name, dtype, shape }));
}

test('copies every other file byte for byte and records where the weights came from', async () => {
  const out = output('copies');
  await runCli(['quantize', MODEL, '-o', out]);
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']) {
    expect(readFileSync(join(out, name))).toEqual(readFileSync(join(MODEL, name)));
  }
  const manifest = JSON.parse(readFileSync(join(out, 'llmkit.json'), 'utf8'));
  expect(manifest).toMatchObject({
    command: 'quantize',
    config: { scheme: 'nf4', group_size: 64 },
  });
  expect(manifest.base_model.identity).toMatch(/^[0-9a-f]{64}$/);
});

test('leaves alone what is skipped, by name, ending and glob', async () => {
  const out = output('skipped');
  const skip = 'lm_head,v_proj,model.layers.0.mlp.*';
  const { tensors } = await runJson(['quantize', MODEL, '-o', out, '--skip', skip]);
  const names: string[] = tensors.map(({ name }: { name: string }) => name);
  expect(names).toHaveLength(14 - 2 - 3);
  expect(names.filter((name) => /v_proj|layers\.0\.mlp/.test(name))).toEqual([]);
  const file = await readSafetensors(join(out, 'model.safetensors'));
  expect(file.tensors.get('model.layers.0.mlp.up_proj.weight')?.dtype).toBe('F32');
  file.close();
});

test('splits the weights into shards', async () => {
  const out = output('shards');
  await runCli(['quantize', MODEL, '-o', out, '--max-shard-size', '100KB']);
  expect(readdirSync(out)).toContain('model.safetensors.index.json');
  const { choices } = await runJson(['generate', out, '--prompt', 'a', '--max-new-tokens', '2']);
  expect(choices[0].ids).toHaveLength(2);
});

test('measures the perplexity of a text before and after', async () => {
  const text = output('text.txt');
  writeFileSync(text, 'the small bird sat on the old wall and sang. '.repeat(8));
  const out = output('calibrated');
  const { perplexity } = await runJson([
    'quantize',
    MODEL,
    '-o',
    out,
    '--bits',
    '8',
    '--calib',
    text,
  ]);
  expect(perplexity.before).toBeGreaterThan(1);
  expect(perplexity.after / perplexity.before).toBeCloseTo(1, 1);
});

test('--dry-run prints the plan and writes nothing', async () => {
  const plan = await runJson(['quantize', MODEL, '-o', output('dry'), '--dry-run']);
  expect(plan.dry_run.memory_peak_bytes).toBeGreaterThan(0);
  expect(plan.bytes_after).toBeLessThan(plan.bytes_before);
  expect(existsSync(output('dry'))).toBe(false);
});

test('names its output after the model and the scheme', async () => {
  const { code, stdout } = await runCli(['quantize', 'tiny', '--quiet'], { cwd: ROOT });
  expect(code).toBe(0);
  expect(stdout.split('\n')[0]).toBe('wrote ./tiny-nf4');
});

describe('mistakes', () => {
  mkdirSync(output('exists'));
  writeFileSync(join(output('exists'), 'keep'), 'x');
  test.each([
    [['-o', output('exists')], 2, '--force'],
    [['--bits', '5.5'], 2, '4 or 8'],
    [['--scheme', 'nf5'], 2, 'nf4, fp4, int4 or int8'],
    [['--scheme', 'int4', '--bits', '8'], 2, 'does not agree'],
    [['--scheme', 'int4', '--group-size', '48'], 2, 'have 64 weights'],
    [['--scheme', 'int4', '--double-quant'], 2, 'nf4 and fp4 only'],
    [['--asymmetric'], 2, 'int4 and int8 only'],
    [['--group-size', '48'], 2, 'power of two'],
    [['--skip', 'nothing'], 2, 'q_proj'],
    [['--calib', 'no-such.txt'], 2, 'no-such.txt'],
  ])('%j', async (flags, code, word) => {
    const out = output('mistake');
    const result = await runCli([
      'quantize',
      MODEL,
      ...(flags.includes('-o') ? [] : ['-o', out]),
      ...flags,
    ]);
    expect(result).toMatchObject({ code, stdout: '' });
    expect(result.stderr).toContain(word);
    expect(existsSync(out)).toBe(false);
  });

  test('a model that is quantized already', async () => {
    await runCli(['quantize', MODEL, '-o', output('once')]);
    const { code, stderr } = await runCli(['quantize', output('once'), '-o', output('twice')]);
    expect(code).toBe(2);
    expect(stderr).toContain('already quantized');
  });
});
