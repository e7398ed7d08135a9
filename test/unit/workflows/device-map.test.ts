import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Decoder } from '../../../src/model/decoder.js';
import type { Placed } from '../../../src/model/layer-placement.js';
import { loadModel } from '../../../src/model/load.js';
import { deviceMemory } from '../../../src/tensor/backends/device-memory.js';
import type { Compute } from '../../../src/tensor/compute.js';
import { valueAndGradients } from '../../../src/tensor/gradients.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { attachLora } from '../../../src/tune/peft/index.js';
import { deviceMapOf } from '../../../src/workflows/device-map.js';
import { openGenerator } from '../../../src/workflows/generate.js';
import { useCuda } from '../../helpers/cuda.js';
import { meanTokenLoss } from '../../helpers/losses.js';

const addon = await useCuda();
const MODEL = join('fixtures', 'models', 'tales-2m');
const ROWS = [{ ids: [5, 9, 300] }, { ids: [1, 2] }];
/** In bf16, as they are stored and packed. */
const TABLE_BYTES = 1024 * 192 * 2;
const LAYER_BYTES = (2 * 192 * 192 + 2 * 64 * 192 + 3 * 512 * 192) * 2;

afterEach(() => {
  deviceMemory()?.limit(undefined);
  expect(addon.hostWeights()).toEqual({ hostBytes: 0, deviceBytes: 0 });
});

/** The model with room for so many of its four layers beside those that visit. */
async function open(choice: Compute, layersThere: number): Promise<[Decoder, Placed]> {
  const working = 2 ** 30;
  // Rows are read from the stored table, products from a packed one; half a layer is left over.
  const tables = (choice === 'f32' ? 1 : 2) * TABLE_BYTES;
  const layers = (layersThere + 2.5) * LAYER_BYTES;
  deviceMemory()?.limit(addon.deviceMemory().inUseBytes + working + tables + layers);
  let placed: Placed | undefined;
  const checkpoint = await openCheckpoint(MODEL);
  const placement = {
    workingBytes: () => working,
    onPlaced: (where: Placed) => {
      placed = where;
    },
  };
  const compute = { choice, use: 'train' } as const;
  const model = await loadModel(checkpoint, { compute, placement });
  checkpoint.close();
  return [model, placed as Placed];
}

function logitsOf(model: Decoder): Float32Array {
  return tf.tidy(() => model.logits(model.forward(ROWS)).dataSync() as Float32Array);
}

/** Gradients of an adapter, all of whose values move the loss, at two steps. */
function gradientsOf(model: Decoder, checkpointing: boolean): number[][] {
  const lora = { r: 2, alpha: 4, dropout: 0, bias: 'none', useRslora: false } as const;
  const adapter = attachLora(model, { ...lora, targetModules: 'all-linear' }, 3);
  const variables = [...adapter.variables.values()];
  for (const variable of variables) tf.tidy(() => variable.assign(tf.fill(variable.shape, 0.02)));
  const loss = () => meanTokenLoss(model, ROWS, { checkpointing });
  const steps = [1, 2].map(() =>
    tf.tidy(() =>
      valueAndGradients(loss, variables).gradients.map((gradient) =>
        Array.from((gradient as tf.Tensor).dataSync()),
      ),
    ),
  );
  adapter.dispose();
  return steps.flat();
}

describe.each(['f32', 'bf16'] as const)('in %s', (compute) => {
  test('layers that do not fit stay on the host, and the logits are the same', async () => {
    const [whole, all] = await open(compute, 8);
    expect(all).toEqual({ onDevice: 4, onHost: 0 });
    const wanted = logitsOf(whole);
    whole.dispose();
    const [model, placed] = await open(compute, 1);
    expect(placed).toEqual({ onDevice: 1, onHost: 3 });
    expect(addon.hostWeights().hostBytes).toBeGreaterThan(2.9 * LAYER_BYTES);
    expect(logitsOf(model)).toEqual(wanted);
    expect(logitsOf(model)).toEqual(wanted);
    model.dispose();
  });

  test('gradients are the same', async () => {
    const checkpointing = compute === 'bf16';
    const [whole] = await open(compute, 8);
    const wanted = gradientsOf(whole, checkpointing);
    whole.dispose();
    const [model, placed] = await open(compute, 0);
    expect(placed).toEqual({ onDevice: 0, onHost: 4 });
    expect(gradientsOf(model, checkpointing)).toEqual(wanted);
    model.dispose();
  });
});

test('a text is the same, whatever is on the host', async () => {
  const write = async (flags: Parameters<typeof deviceMapOf>[0]) => {
    const notes: string[] = [];
    const map = deviceMapOf(flags, (text) => notes.push(text));
    const generator = await openGenerator({
      model: MODEL,
      backend: 'native',
      device: 'cuda',
      ...map,
    });
    const request = { prompt: 'One day', maxNewTokens: 8, seed: 0 };
    const { choices } = await generator.complete(request);
    generator.close();
    return { text: choices[0]?.text, notes };
  };
  const { text } = await write({});
  const small = await write({ device_map: 'auto', max_memory: '12MB' });
  expect(small.text).toBe(text);
  expect(small.notes).toEqual(['device map: 2 layers on the GPU, 2 on the host']);
  const large = await write({ device_map: 'auto', max_memory: '1GB' });
  expect(large).toEqual({ text, notes: ['device map: 4 layers on the GPU, 0 on the host'] });
});
