import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadTokenizer } from '../../../src/tokenizer/tokenizer.js';
import { readModelConfig, refuseMisspelt } from '../../../src/workflows/training/model-config.js';

const MODELS = join('fixtures', 'models');
const LLAMA = {
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  max_position_embeddings: 64,
};

describe('misspelt keys', () => {
  test.each([
    ['rms_nrm_eps', 'rms_norm_eps'],
    ['rms_norm_epsilon', 'rms_norm_eps'],
    ['tie_word_embedding', 'tie_word_embeddings'],
    ['rope_teta', 'rope_theta'],
    ['num_key_value_head', 'num_key_value_heads'],
  ])('%s: did you mean %s?', async (key, meant) => {
    const tokenizer = await loadTokenizer(join(MODELS, 'tales-2m'));
    await expect(readModelConfig({ ...LLAMA, [key]: 1 }, tokenizer)).rejects.toMatchObject({
      code: 'config',
      message: `model_config: ${key} is not a known key; did you mean ${meant}?`,
    });
  });

  test('are named even where the right key is missing', () => {
    const { num_hidden_layers: layers, ...rest } = LLAMA;
    expect(() => refuseMisspelt({ ...rest, num_hiden_layers: layers })).toThrow(
      'num_hiden_layers is not a known key; did you mean num_hidden_layers?',
    );
  });

  test('other keys pass: those that transformers writes, and a user\u2019s own', () => {
    const folders = readdirSync(MODELS).filter((name) =>
      existsSync(join(MODELS, name, 'config.json')),
    );
    expect(folders.length).toBeGreaterThan(10);
    for (const name of folders) {
      refuseMisspelt(JSON.parse(readFileSync(join(MODELS, name, 'config.json'), 'utf8')));
    }
    const written = {
      ...{ _name_or_path: '', attention_dropout: 0, pretraining_tp: 1, use_cache: true },
      ...{ hidden_dropout: 0, classifier_dropout: 0, layer_norm_eps: 1, qkv_bias: false },
      ...{ embd_pdrop: 0, n_ctx: 1, reorder_and_upcast_attn: false, my_note: 'x' },
    };
    refuseMisspelt({ ...LLAMA, ...written });
    const gpt2 = { model_type: 'gpt2', n_embd: 8, n_head: 2, n_layer: 1, n_positions: 16 };
    refuseMisspelt({ ...gpt2, ...written });
  });
});
