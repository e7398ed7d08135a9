import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Tokenizer } from '../../../src/tokenizer/tokenizer.js';
import type { Base } from '../../../src/workflows/training/base.js';
import { type TrainingConfig, trainingShape } from '../../../src/workflows/training/config.js';
import { openTrainee } from '../../../src/workflows/training/trainee.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { tinyModels } from '../../helpers/tiny-models.js';

await useTestBackend(testedBackends[0] ?? 'reference');

const schema = z.strictObject(trainingShape);
const configOf = (given: object): TrainingConfig => ({
  ...schema.parse({ output_dir: 'out', data: 'data.jsonl', model: 'tiny', ...given }),
  seed: 0,
});

const cpu = { device: 'cpu' };
const unexpected = (warning: string) => expect.unreachable(warning);

async function baseOf(folder: string): Promise<Base> {
  const checkpoint = await openCheckpoint(folder);
  const { config: hfConfig } = checkpoint;
  return { folder, checkpoint, hfConfig, contextLength: 64, tokenizer: {} as Tokenizer };
}

test.each(tinyModels)('%s: full training writes every tensor as it was stored', async (folder) => {
  const base = await baseOf(folder);
  const trainee = await openTrainee(configOf({ method: 'full' }), base, {
    backend: cpu,
    onWarning: unexpected,
  });
  const target = mkdtempSync(join(tmpdir(), 'full-'));
  await trainee.save(target);
  const written = await openCheckpoint(target);
  const names = [...written.tensors.keys()];
  expect(names.sort()).toEqual([...(base.checkpoint?.tensors.keys() ?? [])].sort());
  for (const name of names) {
    expect(written.tensors.get(name)?.shape).toEqual(base.checkpoint?.tensors.get(name)?.shape);
    expect(written.floats(name)).toEqual(base.checkpoint?.floats(name));
  }
  const sizes = names.map((name) => written.floats(name).length);
  expect(trainee.parameters.all).toBe(sizes.reduce((sum, size) => sum + size, 0));
  expect(trainee.parameters.trainable).toBe(trainee.parameters.all);
  trainee.dispose();
  written.close();
  base.checkpoint?.close();
  rmSync(target, { recursive: true });
});

test('trained biases of the base are counted once', async () => {
  const base = await baseOf(join('fixtures', 'models', 'tiny-qwen2'));
  const lora = { r: 2, target_modules: ['q_proj'] };
  const plain = await openTrainee(configOf({ lora }), base, {
    backend: cpu,
    onWarning: unexpected,
  });
  const biased = await openTrainee(configOf({ lora: { ...lora, bias: 'lora_only' } }), base, {
    backend: cpu,
    onWarning: unexpected,
  });
  expect(biased.parameters.all).toBe(plain.parameters.all);
  expect(biased.parameters.trainable).toBeGreaterThan(plain.parameters.trainable);
  plain.dispose();
  biased.dispose();
  base.checkpoint?.close();
});
