import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readAdapterConfig } from '../../../../src/tune/peft/adapter-config.js';
import { temporaryFolder } from '../../../helpers/temporary-folder.js';

async function read(config: unknown) {
  const folder = join(temporaryFolder(), 'adapter');
  mkdirSync(folder);
  const text = typeof config === 'string' ? config : JSON.stringify(config);
  writeFileSync(join(folder, 'adapter_config.json'), text);
  return readAdapterConfig(folder);
}

const PLAIN = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj'] };

describe('adapter_config.json', () => {
  test('is read with the defaults of PEFT', async () => {
    expect(await read({ peft_type: 'LORA', target_modules: 'q' })).toEqual({
      lora: { r: 8, alpha: 8, dropout: 0, targetModules: 'q', bias: 'none', useRslora: false },
    });
  });

  test('keeps every field that changes numbers', async () => {
    const { lora, baseModel } = await read({
      ...PLAIN,
      base_model_name_or_path: 'org/base',
      lora_dropout: 0.1,
      bias: 'lora_only',
      use_rslora: true,
      lora_bias: true,
      rank_pattern: { q_proj: 2 },
      alpha_pattern: { q_proj: 3 },
      layers_to_transform: 1,
      layers_pattern: 'h',
      exclude_modules: ['v_proj'],
      modules_to_save: ['norm'],
    });
    expect(baseModel).toBe('org/base');
    expect(lora).toEqual({
      ...{ r: 4, alpha: 8, dropout: 0.1, targetModules: ['q_proj'], bias: 'lora_only' },
      ...{ useRslora: true, loraBias: true, excludeModules: ['v_proj'], modulesToSave: ['norm'] },
      ...{ rankPattern: { q_proj: 2 }, alphaPattern: { q_proj: 3 } },
      ...{ layersToTransform: [1], layersPattern: ['h'] },
    });
  });

  test('takes fields that are set to nothing, and a first A that leaves the base alone', async () => {
    const unset = {
      use_dora: false,
      loftq_config: {},
      layer_replication: null,
      megatron_config: null,
    };
    for (const init_lora_weights of [true, false, 'gaussian', 'eva', 'orthogonal']) {
      await expect(read({ ...PLAIN, ...unset, init_lora_weights })).resolves.toBeDefined();
    }
  });

  test.each([
    ['peft_type', 'VERA'],
    ['task_type', 'SEQ_CLS'],
    ['use_dora', true],
    ['use_qalora', true],
    ['layer_replication', [[0, 2]]],
    ['target_parameters', ['experts']],
    ['trainable_token_indices', [1]],
    ['alora_invocation_tokens', [1, 2]],
    ['init_lora_weights', 'pissa_niter_4'],
    ['loftq_config', { loftq_bits: 4 }],
    ['ensure_weight_tying', true],
    ['a_field_of_the_future', 3],
  ])('refuses %s %j', async (key, value) => {
    await expect(read({ ...PLAIN, [key]: value })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(`${key}: expected`),
    });
  });

  test.each([['not JSON'], ['[]'], [{ ...PLAIN, r: 0 }], [{ ...PLAIN, bias: 'some' }]])(
    'calls %j broken',
    async (config) => {
      await expect(read(config)).rejects.toMatchObject({ code: 'checkpoint' });
    },
  );
});
