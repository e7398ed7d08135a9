import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { writeSafetensors } from '../../src/checkpoint/writer.js';
import { dequantize } from '../../src/tensor/weight.js';
import { randomNormal } from '../helpers/random.js';
import { runCli, runJson, temporaryFolder } from './helpers.js';
import { writeTinyCheckpoint } from './tiny-checkpoint.js';

const ROOT = temporaryFolder();
const MODEL = await writeTinyCheckpoint(join(ROOT, 'tiny'));
const output = (name: string) => join(ROOT, name);
const MODULE = 'model.layers.1.self_attn.q_proj';
const [R, IN, OUT, ALPHA] = [4, 64, 64, 8];

/** A PEFT folder with one adapted layer, as another program would write it. */
async function writeAdapter(name: string, changes: Record<string, unknown> = {}): Promise<string> {
  const folder = output(name);
  mkdirSync(folder);
  const config = {
    peft_type: 'LORA',
    r: R,
    lora_alpha: ALPHA,
    target_modules: ['q_proj'],
    ...changes,
  };
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config));
  const part = (shape: readonly number[], seed: number) => ({
    dtype: 'F32' as const,
    shape,
    bytes: new Uint8Array(randomNormal((shape[0] ?? 0) * (shape[1] ?? 0), seed).buffer),
  });
  const tensors = new Map([
    [`base_model.model.${MODULE}.lora_A.weight`, part([R, IN], 91)],
    [`base_model.model.${MODULE}.lora_B.weight`, part([OUT, R], 92)],
  ]);
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
  return folder;
}

const ADAPTER = await writeAdapter('adapter');

/** W + alpha / r · B A, computed plainly. */
function merged(weight: Float32Array): Float32Array {
  const [a, b] = [randomNormal(R * IN, 91), randomNormal(OUT * R, 92)];
  return weight.map((value, i) => {
    const [row, col] = [Math.floor(i / IN), i % IN];
    let sum = 0;
    for (let k = 0; k < R; k++) sum += (b[row * R + k] ?? 0) * (a[k * IN + col] ?? 0);
    return value + (ALPHA / R) * sum;
  });
}

async function matrixOf(folder: string): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(folder);
  const values = dequantize(checkpoint.matrix(MODULE)).slice();
  checkpoint.close();
  return values;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? Number.NaN))), 0);
}

test('writes W + scale B A, verified, and copies the rest byte for byte', async () => {
  const out = output('merged');
  const result = await runJson(['merge', MODEL, '--adapter', ADAPTER, '-o', out]);
  expect(result).toMatchObject({
    output: out,
    merged_modules: 1,
    verification: { probe_tokens: 256 },
  });
  expect(result.verification.max_difference).toBeLessThanOrEqual(1e-4);
  expect(largestDifference(await matrixOf(out), merged(await matrixOf(MODEL)))).toBeLessThan(2e-6);
  for (const name of ['config.json', 'tokenizer.json', 'chat_template.jinja']) {
    expect(readFileSync(join(out, name))).toEqual(readFileSync(join(MODEL, name)));
  }
});

test('the merged model writes what base + adapter write', async () => {
  const out = output('spoken');
  await runCli(['merge', MODEL, '--adapter', ADAPTER, '-o', out]);
  const prompt = ['--prompt', 'the small bird', '--max-new-tokens', '12'];
  const both = await runJson(['generate', MODEL, '--adapter', ADAPTER, ...prompt]);
  const one = await runJson(['generate', out, ...prompt]);
  expect(one.choices[0].ids).toEqual(both.choices[0].ids);
});

test('--dtype bf16 rounds once, says what that does, and writes it into config.json', async () => {
  const out = output('bf16');
  const { verification } = await runJson([
    'merge',
    MODEL,
    '--adapter',
    ADAPTER,
    '-o',
    out,
    '--dtype',
    'bf16',
  ]);
  expect(verification.rounding_difference).toBeGreaterThan(0);
  expect(verification.max_difference).toBeLessThanOrEqual(2 * verification.rounding_difference);
  expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')).torch_dtype).toBe('bfloat16');
});

test('merges onto the dequantized weights of a quantized base', async () => {
  const [base, out] = [output('tiny-nf4'), output('dequantized')];
  await runCli(['quantize', MODEL, '-o', base]);
  await runJson(['merge', base, '--adapter', ADAPTER, '-o', out]);
  expect(largestDifference(await matrixOf(out), merged(await matrixOf(base)))).toBeLessThan(2e-6);
  const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'));
  expect(config.quantization_config).toBeUndefined();
});

describe('an adapter that records a quantized base', async () => {
  const base = output('recorded-nf4');
  await runCli(['quantize', MODEL, '-o', base, '--double-quant']);
  const adapter = await writeAdapter('recorded');
  const { hashTensors, identityOfTensors } = await import('../../src/checkpoint/identity.js');
  const identityOf = async (folder: string) => {
    const checkpoint = await openCheckpoint(folder);
    const identity = identityOfTensors(await hashTensors(checkpoint));
    checkpoint.close();
    return identity;
  };
  const manifest = {
    version: '0.1.0',
    command: 'lora-train',
    config: { load_in_4bit: true, quantization: { scheme: 'nf4', double_quant: true } },
    base_model: {
      name: MODEL,
      identity: await identityOf(MODEL),
      quantized: { identity: await identityOf(base), scheme: 'nf4' },
    },
  };
  writeFileSync(join(adapter, 'llmkit.json'), JSON.stringify(manifest));

  test.each([MODEL, base])('%s gives the weights it was trained on', async (model) => {
    const out = output(`as-trained-${model === base}`);
    await runJson(['merge', model, '--adapter', adapter, '-o', out, '--dtype', 'f32']);
    expect(largestDifference(await matrixOf(out), merged(await matrixOf(base)))).toBeLessThan(2e-6);
  });

  test.each([MODEL, base])(
    '%s --onto original gives the 16-bit weights and the KL',
    async (model) => {
      const out = output(`onto-original-${model === base}`);
      const flags = ['--onto', 'original', '-o', out, '--dtype', 'f32'];
      const { kl_trained_to_merged: kl } = await runJson([
        'merge',
        model,
        '--adapter',
        adapter,
        ...flags,
      ]);
      expect(kl).toBeGreaterThan(0);
      expect(largestDifference(await matrixOf(out), merged(await matrixOf(MODEL)))).toBeLessThan(
        2e-6,
      );
    },
  );

  test('the 16-bit weights do for an adapter of a checkpoint quantized by other settings', async () => {
    const flags = ['--scheme', 'int4', '--asymmetric', '--group-size', '32'];
    const [quantized, trained, out] = [output('q'), output('trained'), output('anew')];
    await runCli(['quantize', MODEL, '-o', quantized, ...flags]);
    const [config, data] = [`${trained}.yaml`, `${trained}.jsonl`];
    writeFileSync(data, '{"text": "once upon a time"}\n');
    const values = { model: quantized, output_dir: trained, data, max_steps: 1 };
    writeFileSync(config, JSON.stringify(values));
    await runCli(['lora-train', config, '--quiet']);
    await runJson(['merge', MODEL, '--adapter', trained, '-o', out]);
    await runJson(['merge', quantized, '--adapter', trained, '-o', `${out}2`]);
    expect(await matrixOf(out)).toEqual(await matrixOf(`${out}2`));
  });

  test('another base is refused by its identity', async () => {
    const other = output('other-base');
    await runCli(['merge', MODEL, '--adapter', ADAPTER, '-o', other]);
    const out = output('not-written');
    const { code, stderr } = await runCli(['merge', other, '--adapter', adapter, '-o', out]);
    expect(code).toBe(1);
    expect(stderr).toContain('another base model');
    expect(existsSync(out)).toBe(false);
  });
});

describe('mistakes', () => {
  test.each([
    ['a folder that is no adapter', async () => MODEL, 'not an adapter'],
    ['a rank that is not in the file', () => writeAdapter('rank', { r: 5 }), 'shape [5, 64]'],
    ['a field that changes numbers', () => writeAdapter('dora', { use_dora: true }), 'use_dora'],
    ['another method', () => writeAdapter('ia3', { peft_type: 'IA3' }), '"LORA"'],
  ])('%s', async (_what, adapter, word) => {
    const out = output('mistake');
    const { code, stderr } = await runCli([
      'merge',
      MODEL,
      '--adapter',
      await adapter(),
      '-o',
      out,
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain(word);
    expect(existsSync(out)).toBe(false);
  });

  test('an adapter of a model with other shapes', async () => {
    const folder = output('wide');
    mkdirSync(folder);
    copyFileSync(join(ADAPTER, 'adapter_config.json'), join(folder, 'adapter_config.json'));
    const zeros = (shape: number[]) => ({
      dtype: 'F32' as const,
      shape,
      bytes: new Uint8Array(4 * (shape[0] ?? 0) * (shape[1] ?? 0)),
    });
    const tensors = new Map([
      [`base_model.model.${MODULE}.lora_A.weight`, zeros([R, 96])],
      [`base_model.model.${MODULE}.lora_B.weight`, zeros([96, R])],
    ]);
    await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
    const { code, stderr } = await runCli(['merge', MODEL, '--adapter', folder, '-o', output('m')]);
    expect(code).toBe(1);
    expect(stderr).toContain("has shape [64, 64], the adapter's [96, 96]");
  });
});
