import { expect, test } from 'vitest';
import { parameterSpecs } from '../../../src/model/layout.js';
import type { Base } from '../../../src/workflows/training/base.js';
import type { TrainingConfig } from '../../../src/workflows/training/config.js';
import type { TrainingData } from '../../../src/workflows/training/data.js';
import { memoryPeak } from '../../../src/workflows/training/memory.js';
import { sizesOf } from '../../../src/workflows/training/sizes.js';

const llama = { model_type: 'llama', max_position_embeddings: 2048 };
const shape = (
  hidden_size: number,
  intermediate_size: number,
  num_hidden_layers: number,
  heads: readonly [number, number],
  vocab: readonly [size: number, tied: boolean],
) => ({
  ...{ ...llama, hidden_size, intermediate_size, num_hidden_layers },
  ...{ num_attention_heads: heads[0], num_key_value_heads: heads[1] },
  ...{ vocab_size: vocab[0], tie_word_embeddings: vocab[1] },
});
const small = shape(288, 768, 6, [6, 6], [32000, true]);
const middle = shape(512, 1376, 6, [8, 8], [10000, true]);
const large = shape(1024, 2816, 22, [16, 2], [32000, false]);

const LORA = { method: 'lora', batch_size: 1, gradient_checkpointing: false } as const;
const CHECKPOINTED = { gradient_checkpointing: true } as const;

/**
 * Runs of two steps on two threads of an Intel Xeon with AMX, or of Zen 5 (LoRA of `small` and all weights of `middle`, since
 * the loss keeps what its gradient wants of the logits): what they trained, and the VmHWM of the process in MB.
 */
const runs: readonly [
  what: string,
  model: object,
  tokens: number,
  Partial<TrainingConfig>,
  number,
][] = [
  ['LoRA, small', small, 512, {}, 238],
  ['LoRA, batch of 4', small, 512, { batch_size: 4 }, 321],
  ['LoRA, recomputed', small, 512, { batch_size: 4, ...CHECKPOINTED }, 341],
  ['LoRA, float32', small, 512, { batch_size: 4, compute: 'f32' }, 345],
  ['LoRA, larger', large, 512, {}, 1096],
  ['QLoRA, larger', large, 512, { load_in_4bit: true }, 745],
  ['LoRA, larger, recomputed', large, 1024, CHECKPOINTED, 979],
  ['all weights, small', small, 1024, { method: 'full', batch_size: 4 }, 873],
  ['all weights', middle, 512, { method: 'full', batch_size: 4 }, 1040],
  ['all weights, recomputed', middle, 512, { method: 'full', batch_size: 4, ...CHECKPOINTED }, 779],
];

/** The plan in MB. */
function planned(hfConfig: object, tokens: number, keys: Partial<TrainingConfig>): number {
  const lora = { r: 16, alpha: 32, dropout: 0, target_modules: 'all-linear', bias: 'none' };
  const quantization = { scheme: 'nf4', double_quant: true };
  const config = {
    ...LORA,
    lora,
    optim: 'adamw',
    quantization,
    ...keys,
  } as never as TrainingConfig;
  const tensors = new Map(
    parameterSpecs(hfConfig as never).map(({ name, shape }) => {
      const sizeBytes = 2 * shape.reduce((product, length) => product * length, 1);
      return [name, { name, dtype: 'BF16', shape, sizeBytes }];
    }),
  );
  const checkpoint = { config: hfConfig, tensors, quantized: new Set() };
  const base = { hfConfig, checkpoint } as never as Base;
  const data = { rows: [[{ ids: new Int32Array(tokens) }]] } as never as TrainingData;
  return memoryPeak(config, { base, data, sizes: sizesOf(config, base) }) / 1e6;
}

test.each(runs)(
  'the planned peak of %s is what was measured, or up to 1.7 times that',
  (...run) => {
    const [, hfConfig, tokens, keys, measured] = run;
    const plan = planned(hfConfig, tokens, keys);
    expect(plan).toBeGreaterThanOrEqual(measured);
    expect(plan).toBeLessThanOrEqual(1.7 * measured);
  },
);

test('activations are held in 16 bits whichever instructions multiply them as bf16', () => {
  const plan = planned(small, 2048, { compute: 'bf16-wgmma' });
  expect(plan).toBe(planned(small, 2048, { compute: 'bf16' }));
  expect(plan).toBeLessThan(planned(small, 2048, { compute: 'f32' }));
});
