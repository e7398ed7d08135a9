import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { toDtype } from '../../../src/checkpoint/dtype.js';
import type { Example } from '../../../src/data/example.js';
import { loadModel } from '../../../src/model/load.js';
import { memory } from '../../../src/tensor/tfjs.js';
import { dequantize, type WeightData } from '../../../src/tensor/weight.js';
import { attachLora } from '../../../src/tune/peft/index.js';
import { Trainer } from '../../../src/tune/trainer.js';
import { isInvariant, testedBackends, useTestBackend } from '../../helpers/backends.js';

/** Blocks of every kind: with norms of heads, with fused projections, without gates, normalised after the sum. */
const MODELS = ['tiny-llama', 'tiny-qwen3', 'tiny-gpt2', 'tiny-opt', 'tiny-opt-post-norm'];

const optimizer = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };
const examples: Example[] = [9, 4, 12, 7].map((length, index) => ({
  ids: Int32Array.from({ length }, (_, i) => (i * i * 7 + index * 13) % 60),
  trained: Uint8Array.from({ length }, (_, i) => (i >= 1 + (index % 3) ? 1 : 0)),
  index,
  where: `tiny:${index + 1}`,
}));

/** The matrix as bf16, which multiplies in bf16. */
function inBf16(data: WeightData): WeightData {
  const { rows, cols } = data;
  return { format: 'bf16', rows, cols, codes: toDtype(dequantize(data), 'BF16') };
}

interface Run {
  readonly checkpointing: boolean;
  readonly dropout: number;
}

/** Losses and gradient norms of some steps of LoRA. */
async function train(model: string, { checkpointing, dropout }: Run): Promise<number[]> {
  const checkpoint = await openCheckpoint(join('fixtures', 'models', model));
  const decoder = await loadModel(checkpoint, {
    compute: { choice: 'bf16', use: 'train' },
    quantize: async (_, read) => inBf16(read()),
  });
  const lora = { r: 4, alpha: 8, dropout, bias: 'none', useRslora: false } as const;
  const adapter = attachLora(decoder, { ...lora, targetModules: 'all-linear' }, 1);
  const trainer = new Trainer(decoder, adapter.variables, {
    optimizer,
    maxGradNorm: 1,
    checkpointing,
  });
  const rows = examples.map((example) => [example]);
  const figures = [0, 1, 2].flatMap((step) => {
    const { loss, gradNorm } = trainer.step([rows], { step, learningRate: 0.02, dropoutSeed: 5 });
    return [loss, gradNorm];
  });
  const { loss } = await trainer.evaluate([rows]);
  trainer.dispose();
  adapter.dispose();
  decoder.dispose();
  checkpoint.close();
  return [...figures, loss];
}

/** All losses, and the gradient norm before a step: Adam's steps then enlarge what rounding leaves. */
function expectNear(actual: readonly number[], expected: readonly number[]): void {
  for (const place of [0, 1, 2, 4, 6]) {
    const ratio = (actual[place] as number) / (expected[place] as number);
    expect(Math.abs(ratio - 1)).toBeLessThan(2 ** -7);
  }
}

describe.each(MODELS)('training %s in bf16', (model) => {
  test('gives the same with checkpointing, and the same on every backend up to rounding', async () => {
    const results: number[][] = [];
    for (const backend of testedBackends) {
      await useTestBackend(backend);
      const { numTensors } = memory();
      for (const dropout of [0, 0.1]) {
        const kept = await train(model, { checkpointing: false, dropout });
        const again = await train(model, { checkpointing: true, dropout });
        if (isInvariant(backend)) expect(again).toEqual(kept);
        else expectNear(again, kept);
        if (dropout === 0) results.push(kept);
      }
      expect(memory().numTensors).toBe(numTensors);
    }
    for (const result of results) expectNear(result, results[0] as number[]);
  });
});
