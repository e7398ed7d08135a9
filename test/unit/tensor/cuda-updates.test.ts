import { afterEach, expect, test, vi } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { loadModel } from '../../../src/model/load.js';
import type { Compute } from '../../../src/tensor/compute.js';
import * as tf from '../../../src/tensor/tfjs.js';
import type { WeightData } from '../../../src/tensor/weight.js';
import { attachLora } from '../../../src/tune/peft/index.js';
import { useCuda } from '../../helpers/cuda.js';

const addon = await useCuda();
const LORA = { r: 4, alpha: 8, dropout: 0.5, bias: 'none', useRslora: false } as const;

afterEach(() => vi.restoreAllMocks());

/** The values cut to bf16: the models here are stored in float32. */
function halved({ rows, cols, codes }: WeightData): WeightData {
  const words = new Uint16Array(codes.buffer, codes.byteOffset, codes.byteLength / 2);
  const upper = words.filter((_, i) => i % 2 === 1);
  return { format: 'bf16', rows, cols, codes: new Uint8Array(upper.buffer) };
}

/** A model of two layers with an adapter that changes its logits. */
async function adapted(folder: string, choice: Compute, targetModules: readonly string[]) {
  const checkpoint = await openCheckpoint(`fixtures/models/${folder}`);
  const model = await loadModel(checkpoint, {
    compute: { choice, use: 'generate' },
    quantize: async (_module, read) => halved(read()),
  });
  checkpoint.close();
  const adapter = attachLora(model, { ...LORA, targetModules }, 3);
  for (const variable of adapter.variables.values()) {
    tf.tidy(() => variable.assign(tf.randomNormal(variable.shape, 0, 0.1, 'float32', 5)));
  }
  const dispose = () => {
    adapter.dispose();
    model.dispose();
  };
  return { model, adapter, dispose };
}

/** Logits, and how often low-rank layers were calls of their own. */
function logitsOf(model: Decoder) {
  const alone = vi.spyOn(addon, 'loraLinear');
  const rows = [{ ids: [5, 9, 31, 2] }, { ids: [7] }];
  const values = tf.tidy(() => model.logits(model.forward(rows)).dataSync());
  const calls = alone.mock.calls.length;
  alone.mockRestore();
  return { values, calls };
}

test.each([
  ['tiny-llama', ['gate_proj', 'up_proj', 'down_proj', 'o_proj']],
  ['tiny-gpt2', ['c_fc', 'c_proj']],
] as const)('%s: products with an adapter end in what follows them', async (folder, targets) => {
  const { model, adapter, dispose } = await adapted(folder, 'bf16', targets);
  const atOnce = logitsOf(model);
  expect(atOnce.calls).toBe(0);
  Object.assign(tf.backend(), { addsUpdates: false });
  const apart = logitsOf(model);
  Object.assign(tf.backend(), { addsUpdates: true });
  expect(apart.calls).toBe(adapter.variables.size / 2);
  expect(atOnce.values).toEqual(apart.values);
  dispose();
});

test('in float32 each is a call of its own', async () => {
  const { model, dispose } = await adapted('tiny-llama', 'f32', ['gate_proj', 'up_proj']);
  expect(logitsOf(model).calls).toBe(4);
  dispose();
});
