import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { BatchPlan } from '../../../src/data/batches.js';
import type { Row } from '../../../src/data/example.js';
import { loadModel } from '../../../src/model/load.js';
import {
  checkpointSteps,
  pruneCheckpoints,
  readCheckpointState,
  restoreCheckpoint,
  saveCheckpoint,
  type TrainingState,
} from '../../../src/tune/checkpointing.js';
import { type LoopOptions, runLoop } from '../../../src/tune/loop.js';
import { attachLora } from '../../../src/tune/peft/index.js';
import { Trainer } from '../../../src/tune/trainer.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

await useTestBackend(testedBackends[0] ?? 'reference');

const rows: Row[] = [6, 4, 7, 5, 3].map((length, index) => {
  const ids = Int32Array.from({ length }, (_, i) => (i * 11 + index * 13) % 67);
  return [{ ids, trained: new Uint8Array(length).fill(1), index, where: `x:${index}` }];
});
const START: TrainingState = { step: 0, trainedTokens: 0, evaluationsSinceBest: 0 };

/** A small LoRA run that reports into arrays and saves into a folder. */
async function newRun(folder: string, changes: Partial<LoopOptions> = {}) {
  const checkpoint = await openCheckpoint(join('fixtures', 'models', 'tiny-llama'));
  const model = await loadModel(checkpoint);
  const lora = { r: 2, alpha: 4, dropout: 0.1, bias: 'none', useRslora: false } as const;
  const adapter = attachLora(model, { ...lora, targetModules: 'all-linear' }, 1);
  const trainer = new Trainer(model, adapter.variables, {
    optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
    maxGradNorm: 1,
    checkpointing: false,
  });
  const losses: number[] = [];
  const evaluations: number[] = [];
  const saved: number[] = [];
  const options: LoopOptions = {
    trainer,
    plan: new BatchPlan(rows, { batchSize: 2, accumulation: 1, seed: 3, shuffle: true }),
    totalSteps: 8,
    learningRate: () => 0.02,
    seed: 3,
    saveSteps: 3,
    hooks: {
      onStep: ({ loss }) => losses.push(loss),
      onEvaluation: ({ loss }) => evaluations.push(loss),
      async save(state) {
        saved.push(state.step);
        await saveCheckpoint(folder, trainer, { state, run: {} });
      },
    },
    ...changes,
  };
  const weights = () => [...adapter.variables.values()].flatMap((v) => [...v.dataSync()]);
  const close = () => {
    trainer.dispose();
    adapter.dispose();
    model.dispose();
    checkpoint.close();
  };
  return { model, trainer, options, losses, evaluations, saved, weights, close };
}

test('interrupted and resumed is never interrupted, bit for bit', async () => {
  const folder = temporaryFolder();
  const whole = await newRun(temporaryFolder());
  expect(await runLoop(START, whole.options)).toMatchObject({
    end: 'finished',
    state: { step: 8 },
  });
  expect(whole.saved).toEqual([3, 6, 8]);

  const controller = new AbortController();
  const first = await newRun(folder, { signal: controller.signal });
  const onStep = first.options.hooks.onStep;
  first.options.hooks.onStep = (report) => {
    onStep(report);
    if (report.step === 5) controller.abort();
  };
  expect(await runLoop(START, first.options)).toMatchObject({
    end: 'interrupted',
    state: { step: 5 },
  });
  expect(await checkpointSteps(folder)).toEqual([3, 5]);

  const second = await newRun(folder);
  const { state } = await readCheckpointState(folder, 5);
  await restoreCheckpoint(folder, 5, second.trainer);
  await runLoop(state, second.options);
  expect([...first.losses, ...second.losses]).toEqual(whole.losses);
  expect(second.weights()).toEqual(whole.weights());
  for (const run of [whole, first, second]) run.close();
});

test('each epoch drops other values', async () => {
  const plan = new BatchPlan(rows, { batchSize: 5, accumulation: 1, seed: 3, shuffle: false });
  // The first step makes B other than zero, so that dropout shows; the others move nothing.
  const learningRate = (step: number) => (step === 0 ? 0.02 : 0);
  const run = await newRun(temporaryFolder(), { plan, learningRate, totalSteps: 3 });
  await runLoop(START, run.options);
  expect(run.losses[2]).not.toBe(run.losses[1]);
  run.close();
});

test('stops early and keeps the best evaluation', async () => {
  const folder = temporaryFolder();
  const evaluation = { batches: [rows], everySteps: 1, patience: 2, saveBest: true };
  // The second step ruins the weights, and no later one moves them.
  const learningRate = (step: number) => [0.02, 5][step] ?? 0;
  const run = await newRun(folder, { evaluation, learningRate, saveSteps: 100 });
  const result = await runLoop(START, run.options);
  expect(result).toMatchObject({ end: 'stopped early', state: { step: 3, best: { step: 1 } } });
  expect(run.saved).toEqual([1, 3]);
  await restoreCheckpoint(folder, 1, run.trainer, 'weights');
  expect((await run.trainer.evaluate([rows])).loss).toBe(run.evaluations[0]);
  // Resumed, it has nothing to do.
  expect(await runLoop(result.state, run.options)).toEqual(result);
  run.close();
});

test('evaluates at the end too', async () => {
  const evaluation = { batches: [rows], everySteps: 3, saveBest: false };
  const run = await newRun(temporaryFolder(), { evaluation, totalSteps: 4 });
  await runLoop(START, run.options);
  expect(run.evaluations).toHaveLength(2);
  run.close();
});

test('keeps the newest checkpoints and the best', async () => {
  const folder = temporaryFolder();
  const run = await newRun(folder);
  for (const step of [1, 2, 3, 10]) {
    await saveCheckpoint(folder, run.trainer, { state: { ...START, step }, run: {} });
  }
  await pruneCheckpoints(folder, undefined, undefined);
  expect(await checkpointSteps(folder)).toEqual([1, 2, 3, 10]);
  await pruneCheckpoints(folder, 2, 1);
  expect(await checkpointSteps(folder)).toEqual([1, 10]);
  await pruneCheckpoints(folder, 1, undefined);
  expect(await checkpointSteps(folder)).toEqual([10]);
  run.close();
});

test('a failed save leaves nothing behind', async () => {
  const folder = temporaryFolder();
  const run = await newRun(folder);
  const extra = () => Promise.reject(new Error('disk full'));
  const saving = saveCheckpoint(folder, run.trainer, { state: START, run: {}, extra });
  await expect(saving).rejects.toThrow('disk full');
  expect(existsSync(join(folder, 'checkpoint-0'))).toBe(false);
  run.close();
});

test('says which tensor a checkpoint lacks', async () => {
  const folder = temporaryFolder();
  const run = await newRun(folder);
  await saveCheckpoint(folder, run.trainer, { state: START, run: {} });
  const [, first] = [...run.trainer.variables][0] ?? [];
  if (!first) throw new Error('no variables');
  const other = new Trainer(run.model, new Map([['unknown', first]]), {
    optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 },
    maxGradNorm: 1,
    checkpointing: false,
  });
  await expect(restoreCheckpoint(folder, 0, other)).rejects.toThrow(
    /training\.safetensors: expected weight\/unknown .*no such tensor/,
  );
  run.close();
});
