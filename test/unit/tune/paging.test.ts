import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Row } from '../../../src/data/example.js';
import { loadModel } from '../../../src/model/load.js';
import { deviceMemory } from '../../../src/tensor/backends/device-memory.js';
import { Variable } from '../../../src/tensor/tfjs.js';
import { type Paging, planPaging } from '../../../src/tune/paging.js';
import { Trainer } from '../../../src/tune/trainer.js';
import { useCuda } from '../../helpers/cuda.js';

const addon = await useCuda();
const optimizer = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };
const WORKING_BYTES = 8e6;
const rows: Row[] = [4, 3].map((length, index) => [
  {
    ids: Int32Array.from({ length }, (_, i) => 3 + i * 7 + index),
    trained: new Uint8Array(length).fill(1),
    index,
    where: `row:${index}`,
  },
]);

afterEach(() => {
  deviceMemory()?.limit(undefined);
  delete process.env.LLMKIT_EMULATED_STREAMS;
  expect(addon.hostArrays()).toEqual({ hostBytes: 0, deviceBytes: 0, aheadBytes: 0 });
});

/** Losses, gradient norms and what the weights and states are after some steps with so much memory. */
async function train(memoryBytes: number | undefined, checkpointing = false) {
  const checkpoint = await openCheckpoint(join('fixtures', 'models', 'tales-2m'));
  const { inUseBytes } = addon.deviceMemory();
  if (memoryBytes !== undefined) deviceMemory()?.limit(inUseBytes + memoryBytes);
  const compute = { choice: 'bf16', use: 'train' } as const;
  const model = await loadModel(checkpoint, { trainable: true, compute });
  const variables = new Map<string, Variable>();
  for (const [name, value] of model.parameters) {
    if (value instanceof Variable) variables.set(name, value);
  }
  const parameters = new Map(
    [...variables].map(([name, { size }]) => [name, { size, stateBytes: 8 * size }]),
  );
  const paging = planPaging({ parameters, workingBytes: WORKING_BYTES });
  const trainer = new Trainer(model, variables, {
    ...{ optimizer, maxGradNorm: 1, checkpointing, paging },
  });
  const batches = [rows.slice(0, 1), rows.slice(1)];
  const steps = [0, 1].map((step) => trainer.step(batches, { step, learningRate: 0.01 }));
  const state = [...variables].flatMap(([name, weight]) => {
    const { m, v } = trainer.optimizer.moments.get(name) as { m: Variable; v: Variable };
    return [weight, m, v].map((tensor) => Buffer.from(tensor.dataSync().slice().buffer));
  });
  const { hostBytes } = addon.hostArrays();
  trainer.dispose();
  model.dispose();
  checkpoint.close();
  return { steps, state, hostBytes, paging };
}

/** How many tensors of each kind are on the host. */
function counts(paging: Paging | undefined): number[] {
  return [paging?.states, paging?.gradients, paging?.weights].map((names) => names?.size ?? 0);
}

const whole = await train(undefined);

test.each([
  ['late', 24e6, false],
  ['early', 24e6, false],
  ['late', 16e6, true],
] as const)(
  'what does not fit is on the host, copied %s, with %d bytes: the same steps',
  async (when, memoryBytes, checkpointing) => {
    process.env.LLMKIT_EMULATED_STREAMS = when;
    expect(counts(whole.paging)).toEqual([0, 0, 0]);
    const paged = await train(memoryBytes, checkpointing);
    const [states = 0, gradients = 0, weights = 0] = counts(paged.paging);
    expect(states).toBe(21);
    expect(gradients).toBeGreaterThan(0);
    if (checkpointing) expect(weights).toBeGreaterThan(0);
    expect(paged.hostBytes).toBeGreaterThan(13e6);
    expect(paged.steps).toEqual(whole.steps);
    expect(paged.state.every((bytes, i) => bytes.equals(whole.state[i] as Buffer))).toBe(true);
  },
  300_000,
);
