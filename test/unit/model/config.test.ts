import { describe, expect, test } from 'vitest';
import { decoderConfig, families } from '../../../src/model/families/index.js';

const llama = {
  model_type: 'llama',
  vocab_size: 32,
  hidden_size: 24,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  intermediate_size: 40,
  max_position_embeddings: 64,
};

describe('decoderConfig', () => {
  test('an unknown model_type names the known ones', () => {
    for (const model_type of ['mamba', '__proto__', 'toString']) {
      expect(() => decoderConfig({ ...llama, model_type })).toThrow(
        `model_type "${model_type}" is not supported; supported: ${Object.keys(families).join(', ')}`,
      );
    }
    expect(() => decoderConfig({})).toThrow('model_type is missing');
  });

  test('all problems are in one error', () => {
    const broken = { ...llama, hidden_size: -1, vocab_size: 'many', rms_norm_eps: 0, mlp_bias: 1 };
    expect(() => decoderConfig(broken)).toThrow(
      /config\.json: hidden_size: .*got -1.*; vocab_size: .*"many".*; rms_norm_eps: .*; mlp_bias: /,
    );
  });

  test.each([
    ['hidden_size', Number.MAX_SAFE_INTEGER],
    ['hidden_size', 2.5],
    ['num_hidden_layers', 2 ** 25],
    ['num_attention_heads', 0],
    ['num_key_value_heads', 3],
    ['head_dim', 7],
    ['vocab_size', null],
    ['rope_scaling', 'linear'],
  ])('refuses %s = %s', (key, value) => {
    expect(() => decoderConfig({ ...llama, [key]: value })).toThrow(`config.json: ${key}`);
  });

  test('heads must divide the hidden size where head_dim does not say theirs', () => {
    const heads = { ...llama, num_attention_heads: 5 };
    expect(() => decoderConfig(heads)).toThrow(
      'hidden_size: expected a multiple of 5 heads, got 24',
    );
    expect(decoderConfig({ ...heads, head_dim: 6 }).headSize).toBe(6);
  });

  test('an unknown activation names the known ones', () => {
    expect(() => decoderConfig({ ...llama, hidden_act: 'snake' })).toThrow(
      /'snake' is not one of gelu, .*silu/,
    );
  });

  test('GPT-2 with cross-attention is refused', () => {
    const gpt2 = {
      model_type: 'gpt2',
      n_embd: 8,
      n_layer: 1,
      n_head: 2,
      n_positions: 8,
      vocab_size: 9,
    };
    expect(decoderConfig(gpt2)).toMatchObject({
      intermediateSize: 32,
      maxLength: 8,
      tiedHead: true,
    });
    expect(() => decoderConfig({ ...gpt2, add_cross_attention: true })).toThrow('cross');
  });
});

describe('attention windows', () => {
  const qwen2 = { ...llama, model_type: 'qwen2' };

  test.each([
    ['none without use_sliding_window', { sliding_window: 9 }, [undefined, undefined, undefined]],
    [
      'the layers from max_window_layers on',
      { use_sliding_window: true, sliding_window: 9, max_window_layers: 1 },
      [undefined, 9, 9],
    ],
    [
      'all layers from 0 on',
      { use_sliding_window: true, sliding_window: 9, max_window_layers: 0 },
      [9, 9, 9],
    ],
    [
      'what layer_types says',
      {
        use_sliding_window: true,
        sliding_window: 9,
        layer_types: ['sliding_attention', 'full_attention', 'sliding_attention'],
      },
      [9, undefined, 9],
    ],
  ])('%s', (_, fields, windows) => {
    expect(decoderConfig({ ...qwen2, ...fields }).windows).toEqual(windows);
  });

  test('Mistral: 4096 where absent, none where null', () => {
    const mistral = { ...llama, model_type: 'mistral' };
    expect(decoderConfig(mistral).windows).toEqual([4096, 4096, 4096]);
    expect(decoderConfig({ ...mistral, sliding_window: null }).windows[0]).toBeUndefined();
  });

  test('a window that is asked for and missing, an unknown layer type', () => {
    const sliding = Array.from({ length: 3 }, () => 'sliding_attention');
    expect(() => decoderConfig({ ...qwen2, layer_types: sliding })).toThrow(
      'needs use_sliding_window',
    );
    const unknown = [...sliding.slice(1), 'linear_attention'];
    const fields = { use_sliding_window: true, sliding_window: 4, layer_types: unknown };
    expect(() => decoderConfig({ ...qwen2, ...fields })).toThrow(
      "'linear_attention' is not one of",
    );
  });
});

describe('RoPE', () => {
  test('theta is read inside the parameters, else beside them', () => {
    const frequency = (fields: object) =>
      decoderConfig({ ...llama, ...fields }).rope?.inverseFrequencies(1)[1];
    expect(frequency({ rope_theta: 500 })).toBeCloseTo(500 ** (-1 / 3), 6);
    const inside = { rope_theta: 20, rope_parameters: { rope_type: 'default', rope_theta: 500 } };
    expect(frequency(inside)).toBeCloseTo(500 ** (-1 / 3), 6);
  });

  test('an unknown type names the known ones', () => {
    for (const type of ['longrope', 'constructor']) {
      expect(() => decoderConfig({ ...llama, rope_scaling: { type, factor: 2 } })).toThrow(
        `rope_scaling type '${type}' is not one of default, linear, dynamic, yarn, llama3`,
      );
    }
  });

  test('a type without its factor is an error', () => {
    expect(() => decoderConfig({ ...llama, rope_scaling: { type: 'linear' } })).toThrow(
      'rope_scaling.factor: expected a number above 0, got nothing',
    );
    expect(() =>
      decoderConfig({ ...llama, rope_parameters: { rope_type: 'llama3', factor: 8 } }),
    ).toThrow('low_freq_factor');
  });

  test('parameters per layer type are refused', () => {
    const rope_parameters = { full_attention: { rope_type: 'default', rope_theta: 5 } };
    expect(() => decoderConfig({ ...llama, rope_parameters })).toThrow('per layer type');
  });

  test('partial rotation is refused', () => {
    expect(() => decoderConfig({ ...llama, partial_rotary_factor: 0.5 })).toThrow('0.5 is not 1');
  });

  test.each([
    ['default', {}, 64],
    ['linear', { factor: 4 }, 256],
    ['dynamic', { factor: 2 }, 128],
    ['yarn', { factor: 4, original_max_position_embeddings: 32 }, 128],
    ['yarn', { factor: 2, original_max_position_embeddings: 16 }, 64],
  ])('context of %s %o', (rope_type, fields, length) => {
    const config = decoderConfig({ ...llama, rope_parameters: { rope_type, ...fields } });
    expect(config.maxLength).toBe(length);
  });

  test('dynamic frequencies follow the length beyond the trained one alone', () => {
    const { rope } = decoderConfig({ ...llama, rope_scaling: { type: 'dynamic', factor: 2 } });
    const at = (length: number) => rope?.inverseFrequencies(length);
    expect(at(64)).toEqual(at(1));
    expect(at(65)?.[1]).toBeLessThan(at(64)?.[1] ?? 0);
    expect(at(100)?.[1]).toBeLessThan(at(65)?.[1] ?? 0);
  });
});
