import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../../../src/checkpoint/checkpoint.js';
import type { Decoder } from '../../../../src/model/decoder.js';
import { loadModel } from '../../../../src/model/load.js';
import {
  memory,
  ones,
  type Tensor,
  tensor,
  tidy,
  type Variable,
} from '../../../../src/tensor/tfjs.js';
import {
  type Adapter,
  attachLora,
  type LoraConfig,
  loadAdapter,
} from '../../../../src/tune/peft/index.js';
import { testedBackends, useTestBackend } from '../../../helpers/backends.js';
import { randomNormal } from '../../../helpers/random.js';
import { temporaryFolder } from '../../../helpers/temporary-folder.js';

const CONFIG: LoraConfig = {
  r: 3,
  alpha: 6,
  dropout: 0,
  targetModules: 'all-linear',
  bias: 'none',
  useRslora: false,
};
const IDS = [1, 7, 33, 60, 12, 5];

/** Runs over families that differ in what LoRA must know: plain, biased, transposed on disk. */
describe.each(['tiny-llama', 'tiny-opt', 'tiny-gpt2'])('%s', (family) => {
  const folder = join('fixtures', 'models', family);
  let checkpoint: Checkpoint;
  let model: Decoder;

  beforeEach(async () => {
    await useTestBackend(testedBackends[0] ?? 'reference');
    checkpoint = await openCheckpoint(folder);
    model = await loadModel(checkpoint);
  });
  afterEach(() => {
    model.dispose();
    checkpoint.close();
  });

  const logits = (of = model) =>
    tidy(() => of.logits(of.forward([{ ids: IDS }])).dataSync<'float32'>());

  /** Gives every tensor of an adapter random values, so that it changes something. */
  const shake = (adapter: Adapter) => {
    let seed = 7;
    for (const value of adapter.variables.values()) {
      const noise = tensor(
        randomNormal(value.size, seed++).map((x) => 0.2 * x),
        value.shape,
      );
      value.assign(noise as Tensor);
      noise.dispose();
    }
  };

  test('a fresh adapter changes nothing and draws A from the seed alone', () => {
    const before = logits();
    const adapter = attachLora(model, CONFIG, 5);
    expect(logits()).toEqual(before);
    const [name, a] = [...adapter.variables][0] ?? [];
    expect(name).toMatch(/^base_model\.model\..*\.lora_A\.weight$/);
    const values = a?.dataSync() as Float32Array;
    const bound = 1 / Math.sqrt(a?.shape[1] ?? 1);
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(bound);
    expect(Math.max(...values)).toBeGreaterThan(0.8 * bound);
    const again = attachLora(model, CONFIG, 5);
    expect([...again.variables.values()][0]?.dataSync()).toEqual(values);
    const other = attachLora(model, CONFIG, 6);
    expect([...other.variables.values()][0]?.dataSync()).not.toEqual(values);
    for (const made of [adapter, again, other]) made.dispose();
  });

  test.each(['none', 'all', 'lora_only'] as const)(
    'what is saved with bias %s gives the same logits when loaded',
    async (bias) => {
      const adapter = attachLora(model, { ...CONFIG, bias, rankPattern: { fc1: 2 } }, 5);
      shake(adapter);
      const saved = join(temporaryFolder(), 'saved');
      mkdirSync(saved);
      await adapter.save(saved, { baseModel: family });
      const other = await loadModel(checkpoint);
      const loaded = await loadAdapter(other, saved);
      expect(logits(other)).toEqual(logits());
      const biases = [...adapter.variables.keys()].filter((name) => name.endsWith('.bias'));
      const [module = ''] = [...model.linears].find(([, { bias: own }]) => own) ?? [];
      const name = `base_model.model.${module}.base_layer.bias`;
      expect(biases.includes(name)).toBe(bias !== 'none' && module !== '');
      expect([...loaded.variables.keys()].sort()).toEqual([...adapter.variables.keys()].sort());
      for (const part of [adapter, loaded, other]) part.dispose();
    },
  );

  test('the folder names its base and its targets and nothing of the machine', async () => {
    const adapter = attachLora(model, CONFIG, 5);
    const [first, second] = [join(temporaryFolder(), 'a'), join(temporaryFolder(), 'b')];
    for (const out of [first, second]) {
      mkdirSync(out);
      await adapter.save(out, { baseModel: 'org/base' });
    }
    for (const name of ['adapter_config.json', 'adapter_model.safetensors', 'README.md']) {
      expect(readFileSync(join(first, name))).toEqual(readFileSync(join(second, name)));
    }
    const config = JSON.parse(readFileSync(join(first, 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({
      base_model_name_or_path: 'org/base',
      fan_in_fan_out: family === 'tiny-gpt2',
      lora_alpha: 6,
      peft_type: 'LORA',
      r: 3,
    });
    expect(config.target_modules).not.toContain('lm_head');
    adapter.dispose();
  });

  test('delta is scale · B A', () => {
    const adapter = attachLora(model, { ...CONFIG, useRslora: true }, 5);
    shake(adapter);
    const [module = '', linear] = [...model.linears][0] ?? [];
    const x = ones([1, linear?.inFeatures ?? 1]);
    const delta = adapter.delta(module) ?? new Float32Array();
    const change = tidy(() => {
      const inner = (linear as unknown as { inner: typeof linear }).inner;
      const [with_, without] = [linear, inner].map((l) => l?.forward(x, {}).dataSync());
      return with_?.map((value, i) => value - (without?.[i] ?? 0));
    });
    change?.forEach((value, row) => {
      const cols = linear?.inFeatures ?? 1;
      const sum = delta.subarray(row * cols, (row + 1) * cols).reduce((a, b) => a + b, 0);
      expect(value).toBeCloseTo(sum, 4);
    });
    expect(adapter.delta('nothing')).toBeUndefined();
    x.dispose();
    adapter.dispose();
  });

  test('attaching and disposing leaves no tensor behind', () => {
    const before = memory().numTensors;
    attachLora(model, CONFIG, 5).dispose();
    expect(memory().numTensors).toBe(before);
  });
});

describe('dropout', () => {
  test('follows the keys of the rows, not the batch', async () => {
    await useTestBackend(testedBackends[0] ?? 'reference');
    const checkpoint = await openCheckpoint(join('fixtures', 'models', 'tiny-llama'));
    const model = await loadModel(checkpoint);
    const adapter = attachLora(model, { ...CONFIG, dropout: 0.5 }, 5);
    for (const [name, value] of adapter.variables) {
      if (name.includes('lora_B')) (value as Variable).assign(ones(value.shape));
    }
    const [, linear] = [...model.linears][0] ?? [];
    const width = linear?.inFeatures ?? 1;
    const run = (keys: number[][]) =>
      tidy(() => {
        const rows = tensor(keys, [keys.length, 2], 'int32');
        const x = ones([keys.length, width]);
        const context = { dropout: { seed: 1, keys: rows as never } };
        return linear?.forward(x, context).arraySync() as number[][];
      });
    const both = run([
      [4, 0],
      [4, 1],
    ]);
    expect(run([[4, 1]])[0]).toEqual(both[1]);
    expect(both[0]).not.toEqual(both[1]);
    adapter.dispose();
    model.dispose();
    checkpoint.close();
  });
});
