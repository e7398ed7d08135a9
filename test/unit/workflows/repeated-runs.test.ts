import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Row } from '../../../src/data/example.js';
import { generate } from '../../../src/generate/decode.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { loadModel } from '../../../src/model/load.js';
import { Variable } from '../../../src/tensor/tfjs.js';
import { attachLora } from '../../../src/tune/peft/index.js';
import { Trainer } from '../../../src/tune/trainer.js';
import { byteTokenizer } from '../../helpers/byte-tokenizer.js';
import { useCuda } from '../../helpers/cuda.js';
import { runsOn } from '../../helpers/runs.js';

const addon = await useCuda();
const RUNS = runsOn(addon);
const LONG = 600_000;
const LORA = { r: 8, alpha: 16, dropout: 0.1, bias: 'none', useRslora: false } as const;
const OPTIONS = {
  optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
  maxGradNorm: 1,
  checkpointing: true,
};
/** Of lengths that fill no tile, one of them packed of two examples. */
const rows: Row[] = [[21, 5], [13], [30]].map((lengths, row) =>
  lengths.map((length, i) => ({
    ids: Int32Array.from({ length }, (_, at) => 3 + ((at * 11 + row * 5 + i) % 60)),
    trained: new Uint8Array(length).fill(1),
    index: 2 * row + i,
    where: `row:${row}`,
  })),
);

/** What two steps leave: losses, norms, and a hash of what was trained. */
function trained(model: Decoder, variables: ReadonlyMap<string, Variable>) {
  const trainer = new Trainer(model, variables, OPTIONS);
  const batches = [rows.slice(0, 2), rows.slice(2)];
  const steps = [0, 1].map((step) => {
    const { loss, gradNorm } = trainer.step(batches, {
      ...{ step, learningRate: 0.01, dropoutSeed: 5 },
    });
    return [loss, gradNorm];
  });
  trainer.dispose();
  const hash = createHash('sha256');
  for (const variable of variables.values()) hash.update(variable.dataSync());
  return { steps, sha256: hash.digest('hex') };
}

/** Does it again and again: each result is the first one's, bit for bit. */
async function expectSame<T>(run: () => T | Promise<T>): Promise<T> {
  const first = await run();
  for (let i = 1; i < RUNS; i++) expect(await run()).toEqual(first);
  return first;
}

describe(`${RUNS} runs have the same bits`, () => {
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    // The larger one takes long on an emulated device.
    const name = addon.deviceInfo().emulated ? 'tiny-llama' : 'tales-2m';
    checkpoint = await openCheckpoint(`fixtures/models/${name}`);
  });
  afterAll(() => checkpoint.close());

  test.each(['f32', 'bf16'] as const)(
    'of training an adapter in %s',
    { timeout: LONG },
    async (choice) => {
      const { steps } = await expectSame(async () => {
        const model = await loadModel(checkpoint, { compute: { choice, use: 'train' } });
        const adapter = attachLora(model, { ...LORA, targetModules: 'all-linear' }, 1);
        const result = trained(model, adapter.variables);
        adapter.dispose();
        model.dispose();
        return result;
      });
      expect(steps[1]).not.toEqual(steps[0]);
    },
  );

  test('of training a whole model', { timeout: LONG }, async () => {
    await expectSame(async () => {
      const compute = { choice: 'bf16', use: 'train' } as const;
      const model = await loadModel(checkpoint, { trainable: true, compute });
      const variables = [...model.parameters].flatMap(([name, value]): [string, Variable][] =>
        value instanceof Variable ? [[name, value]] : [],
      );
      const result = trained(model, new Map(variables));
      model.dispose();
      return result;
    });
  });

  test.each([0, 1])(
    'of a text and its probabilities, at temperature %d',
    { timeout: LONG },
    async (temperature) => {
      const model = await loadModel(checkpoint, { compute: { choice: 'bf16', use: 'generate' } });
      await expectSame(async () => {
        const { sequences } = await generate(model, byteTokenizer, {
          promptIds: Array.from({ length: 33 }, (_, i) => (i * i * 31) % 64),
          maxNewTokens: 12,
          sampling: { temperature, topK: 0, topP: 0.95, repetitionPenalty: 1.1 },
          seed: 3,
          stop: [],
          sequences: 2,
          echo: false,
          logprobs: 2,
        });
        return sequences.map(({ ids, placed }) => ({ ids, placed }));
      });
      model.dispose();
    },
  );

  test('of a text by recorded steps', { timeout: LONG }, async () => {
    const model = await loadModel(checkpoint, { compute: { choice: 'bf16', use: 'generate' } });
    const { length } = await expectSame(async () => {
      const { sequences } = await generate(model, byteTokenizer, {
        promptIds: [5, 9, 13],
        maxNewTokens: 24,
        sampling: { temperature: 1, topK: 20, topP: 1, repetitionPenalty: 1 },
        ...{ seed: 3, stop: [], sequences: 1, echo: false },
      });
      return sequences[0]?.ids ?? [];
    });
    expect(length).toBeGreaterThan(3);
    model.dispose();
  });
});
