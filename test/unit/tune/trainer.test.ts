import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Example, Row } from '../../../src/data/example.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { loadModel } from '../../../src/model/load.js';
import { fill, memory, tidy, Variable } from '../../../src/tensor/tfjs.js';
import { type Adapter, attachLora } from '../../../src/tune/peft/index.js';
import { Trainer } from '../../../src/tune/trainer.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';

const optimizer = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };
const options = { optimizer, maxGradNorm: 1, checkpointing: false };

interface Opened {
  readonly model: Decoder;
  readonly adapter: Adapter;
  readonly trainer: Trainer;
  close(): void;
}

async function open(dropout = 0, checkpointing = false): Promise<Opened> {
  const checkpoint = await openCheckpoint(join('fixtures', 'models', 'tiny-llama'));
  const model = await loadModel(checkpoint);
  const lora = { r: 4, alpha: 8, dropout, bias: 'none', useRslora: false } as const;
  const adapter = attachLora(model, { ...lora, targetModules: 'all-linear' }, 1);
  const trainer = new Trainer(model, adapter.variables, { ...options, checkpointing });
  const close = () => {
    trainer.dispose();
    adapter.dispose();
    model.dispose();
    checkpoint.close();
  };
  return { model, adapter, trainer, close };
}

/** Examples of different lengths, with prompts that are not trained. */
const examples: Example[] = [9, 4, 12, 7, 3, 10, 5, 8].map((length, index) => ({
  ids: Int32Array.from({ length }, (_, i) => (i * i * 7 + index * 13) % 67),
  trained: Uint8Array.from({ length }, (_, i) => (i >= 1 + (index % 3) ? 1 : 0)),
  index,
  where: `tiny:${index + 1}`,
}));
const rows: Row[] = examples.map((example) => [example]);
const one = (i: number) => rows.slice(i, i + 1);

/** Losses of some steps, after which every weight has moved. */
function losses(trainer: Trainer, batches: readonly (readonly Row[])[], steps = 3): number[] {
  return Array.from(
    { length: steps },
    (_, step) => trainer.step(batches, { step, learningRate: 0.02, dropoutSeed: 5 }).loss,
  );
}

function expectClose(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((value, i) => {
    expect(Math.abs(value / (expected[i] as number) - 1)).toBeLessThan(1e-5);
  });
}

test.each(testedBackends)('%s: the loss falls; a batch of 8x1 trains as 1x8', async (name) => {
  await useTestBackend(name);
  const [together, apart] = [await open(0.2), await open(0.2)];
  const whole = losses(together.trainer, [rows]);
  expect(whole[2]).toBeLessThan((whole[0] ?? 0) - 0.1);
  expectClose(
    losses(
      apart.trainer,
      rows.map((_, i) => one(i)),
    ),
    whole,
  );
  together.close();
  apart.close();
});

test.each(testedBackends)(
  '%s: packed rows train as single ones, dropout included',
  async (name) => {
    await useTestBackend(name);
    const [single, packed] = [await open(0.2), await open(0.2)];
    const packs: Row[] = [examples.slice(0, 3), examples.slice(3, 4), examples.slice(4)];
    expectClose(losses(packed.trainer, [packs]), losses(single.trainer, [rows]));
    single.close();
    packed.close();
  },
);

test.each(testedBackends)('%s: recomputing activations changes nothing', async (name) => {
  await useTestBackend(name);
  const [plain, recomputed] = [await open(0.2), await open(0.2, true)];
  expectClose(losses(recomputed.trainer, [rows]), losses(plain.trainer, [rows]));
  plain.close();
  recomputed.close();
});

test('dropout depends on the epoch and is off in evaluations', async () => {
  await useTestBackend(testedBackends[0] ?? 'reference');
  const { trainer, close } = await open(0.5);
  losses(trainer, [rows]);
  const lossOf = (seed?: number) =>
    trainer.step([rows], { step: 0, learningRate: 0, ...(seed && { dropoutSeed: seed }) }).loss;
  expect(lossOf(1)).toBe(lossOf(1));
  expect(lossOf(1)).not.toBe(lossOf(2));
  const { loss, trainedTokens } = await trainer.evaluate([rows.slice(0, 3), rows.slice(3)]);
  expect(Math.abs(loss / lossOf() - 1)).toBeLessThan(1e-6);
  expect(trainedTokens).toBe(
    examples.reduce((sum, { ids }, i) => sum + ids.length - 1 - (i % 3), 0),
  );
  close();
});

test('a hundred steps keep no tensor', async () => {
  await useTestBackend(testedBackends[0] ?? 'reference');
  const { trainer, close } = await open(0.1);
  const few = rows.slice(0, 2);
  const take = (step: number) =>
    trainer.step([few.slice(0, 1), few.slice(1)], { step, learningRate: 1e-3, dropoutSeed: 1 });
  take(0);
  await trainer.evaluate([few]);
  const { numTensors, numBytes } = memory();
  for (let step = 1; step <= 100; step++) take(step);
  await trainer.evaluate([few]);
  expect(memory()).toMatchObject({ numTensors, numBytes });
  close();
});

test('a loss that is not finite stops before the update and names the examples', async () => {
  await useTestBackend(testedBackends[0] ?? 'reference');
  const { adapter, trainer, close } = await open();
  const before = trainer.step([rows], { step: 0, learningRate: 1e-3 });
  const [name, variable] = [...adapter.variables][1] as [string, Variable];
  tidy(() => variable.assign(fill(variable.shape, Number.NaN)));
  const weights = () =>
    [...adapter.variables].filter(([key]) => key !== name).map(([, v]) => [...v.dataSync()]);
  const kept = weights();
  expect(() => trainer.step([rows.slice(2, 4)], { step: 6, learningRate: 1e-3 })).toThrow(
    /step 7: expected a finite loss and gradient, got loss NaN.*examples 2 \(tiny:3\), 3 \(tiny:4\)/,
  );
  expect(weights()).toEqual(kept);
  expect(before.gradNorm).toBeGreaterThan(0);
  close();
});

test('full training moves every parameter', async () => {
  await useTestBackend(testedBackends[0] ?? 'reference');
  const checkpoint = await openCheckpoint(join('fixtures', 'models', 'tiny-llama'));
  const model = await loadModel(checkpoint, { trainable: true });
  const variables = new Map(
    [...model.parameters].filter(
      (entry): entry is [string, Variable] => entry[1] instanceof Variable,
    ),
  );
  const before = new Map([...variables].map(([name, value]) => [name, value.dataSync().slice()]));
  const trainer = new Trainer(model, variables, options);
  trainer.step([rows], { step: 0, learningRate: 1e-2 });
  const unmoved = [...variables].filter(([name, value]) =>
    value.dataSync().every((number, i) => number === before.get(name)?.[i]),
  );
  expect(unmoved.map(([name]) => name)).toEqual([]);
  trainer.dispose();
  model.dispose();
  checkpoint.close();
});
