import { describe, expect, test } from 'vitest';
import type { Dtype, HfConfig } from '../../../src/checkpoint/checkpoint.js';
import { parameterSpecs } from '../../../src/model/layout.js';
import { type PlanRequest, planQuantization } from '../../../src/quant/plan.js';
import { schemes } from '../../../src/quant/schemes/index.js';
import type { QuantScheme } from '../../../src/quant/schemes/scheme.js';

const LLAMA: HfConfig = {
  model_type: 'llama',
  vocab_size: 32,
  hidden_size: 128,
  intermediate_size: 192,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: false,
};
const GPT2: HfConfig = {
  model_type: 'gpt2',
  vocab_size: 32,
  n_embd: 64,
  n_head: 2,
  n_layer: 1,
  n_positions: 16,
};

function headers(config: HfConfig, dtype: Dtype = 'BF16', prefix = '') {
  return new Map(
    parameterSpecs(config).map(({ name, shape, transposedOnDisk }) => [
      name.slice(prefix.length),
      { dtype, shape: transposedOnDisk ? [...shape].reverse() : shape },
    ]),
  );
}

function plan(changes: Partial<PlanRequest> & { name?: string; config?: HfConfig; dtype?: Dtype }) {
  const { name = 'nf4', config = LLAMA, dtype, ...rest } = changes;
  const scheme = schemes[name] as QuantScheme;
  const request = { scheme, doubleQuant: false, asymmetric: false, skip: ['lm_head'], ...rest };
  return planQuantization(config, headers(config, dtype), request);
}

describe('what is quantized', () => {
  test('every linear layer but those skipped; embeddings never', () => {
    const { matrices, checkpoint } = plan({});
    expect(matrices.size).toBe(14);
    expect(checkpoint.skipped).toEqual(['lm_head']);
    expect(plan({ skip: [] }).matrices.has('lm_head')).toBe(true);
    expect(matrices.get('model.layers.1.mlp.down_proj')).toMatchObject({
      rows: 128,
      cols: 192,
      dtype: 'BF16',
    });
  });

  test('a tied head is named as left alone though it is no matrix of its own', () => {
    const { checkpoint, matrices } = plan({
      config: { ...LLAMA, tie_word_embeddings: true },
      skip: [],
    });
    expect(checkpoint.skipped).toEqual(['lm_head']);
    expect(matrices.size).toBe(14);
  });

  test('names, endings and globs skip; one that matches nothing is an error', () => {
    expect(plan({ skip: ['q_proj', 'model.layers.0.mlp.*'] }).checkpoint.skipped).toHaveLength(5);
    expect(() => plan({ skip: ['proj'] })).toThrow(/--skip: "proj".*q_proj/);
    expect(() => plan({ skip: ['*'] })).toThrow(/leaves no layer/);
  });

  test('older files without the base prefix keep their names', () => {
    const scheme = schemes.nf4 as QuantScheme;
    const request = { scheme, doubleQuant: false, asymmetric: false, skip: ['lm_head'] };
    const { matrices } = planQuantization(GPT2, headers(GPT2, 'F32', 'transformer.'), request);
    expect([...matrices.keys()][0]).toBe('h.0.attn.c_attn');
    expect(matrices.get('h.0.attn.c_attn')).toMatchObject({
      rows: 192,
      cols: 64,
      transposedOnDisk: true,
    });
  });

  test('Conv1D layers have no place in compressed-tensors', () => {
    expect(() => plan({ config: GPT2, name: 'int8' })).toThrow(/Conv1D.*--scheme nf4/);
  });

  test('missing tensors, other shapes and integer weights are errors', () => {
    const request = {
      scheme: schemes.nf4 as QuantScheme,
      doubleQuant: false,
      asymmetric: false,
      skip: [],
    };
    expect(() => planQuantization(LLAMA, new Map(), request)).toThrow(/without it/);
    expect(() => planQuantization({ ...LLAMA, hidden_size: 64 }, headers(LLAMA), request)).toThrow(
      /expected \[64, 64\], got/,
    );
    expect(() => plan({ dtype: 'I8' })).toThrow(/F32, F16 or BF16/);
  });
});

describe('the scheme of the head', () => {
  const int8 = schemes.int8 as QuantScheme;
  const tied = { ...LLAMA, tie_word_embeddings: true };

  test('one of its own, in the groups of the other layers, though the head is skipped', () => {
    const { matrices, checkpoint, untied, notes } = plan({ name: 'int4', head: int8 });
    expect(matrices.get('lm_head')).toMatchObject({ scheme: int8, groupSize: 64, rows: 32 });
    expect(matrices.get('model.layers.0.mlp.up_proj')?.scheme).toBe(schemes.int4);
    expect(checkpoint).toMatchObject({ head: int8, skipped: [] });
    expect([untied, notes.length]).toEqual([undefined, 1]);
  });

  test('a tied one becomes a matrix of its own, and that is said', () => {
    const { matrices, untied, notes } = plan({ name: 'int8', head: int8, config: tied });
    expect(matrices.get('lm_head')).toMatchObject({ scheme: int8, groupSize: 128, dtype: 'BF16' });
    const embedding = 'model.embed_tokens.weight';
    expect(untied).toMatchObject({ source: embedding, table: embedding });
    expect(notes).toEqual([expect.stringMatching(/tied.*in int8.*stays in BF16/)]);
  });

  test('the embedding keeps its name where a file has the shared matrix as the head', () => {
    const tensors = headers(tied);
    const embedding = 'model.embed_tokens.weight';
    tensors.set('lm_head.weight', tensors.get(embedding) as { dtype: Dtype; shape: number[] });
    tensors.delete(embedding);
    const flags = { doubleQuant: false, asymmetric: false, skip: [] };
    const { untied } = planQuantization(tied, tensors, { ...flags, scheme: int8, head: int8 });
    expect(untied).toMatchObject({ source: 'lm_head.weight', table: embedding });
  });

  test('a layout that holds one scheme refuses another for the head, with the fix', () => {
    expect(() => plan({ name: 'nf4', head: int8 })).toThrow(
      '--head: bitsandbytes holds no int8 head beside nf4 layers; use --head nf4, or --scheme int4 or int8',
    );
    expect(() => plan({ name: 'int4', head: schemes.nf4 })).toThrow(/or --scheme nf4$/);
    expect(plan({ name: 'nf4', head: schemes.nf4 }).matrices.has('lm_head')).toBe(true);
  });
});

describe('group sizes', () => {
  test('nf4 64; int8 a row; int4 the largest of 128, 64 and 32 that divides every row, said once', () => {
    expect(plan({}).checkpoint.groupSize).toBe(64);
    expect(plan({ name: 'int8' }).checkpoint.groupSize).toBeUndefined();
    expect(plan({ name: 'int8' }).matrices.get('model.layers.0.mlp.down_proj')?.groupSize).toBe(
      192,
    );
    const int4 = plan({ name: 'int4' });
    expect([int4.checkpoint.groupSize, int4.notes]).toEqual([
      64,
      ['group size 64: 128 does not divide every row'],
    ]);
    const even = plan({ name: 'int4', config: { ...LLAMA, intermediate_size: 256 } });
    expect([even.checkpoint.groupSize, even.notes]).toEqual([128, []]);
  });

  test('one that does not divide a row is an error with the row and a fix', () => {
    const narrow = { ...LLAMA, intermediate_size: 172 };
    expect(() => plan({ name: 'int4', config: narrow })).toThrow(
      /down_proj, which have 172.*--group-size 4/,
    );
    expect(() => plan({ name: 'int8', config: narrow, groupSize: 64 })).toThrow(/172/);
    expect(plan({ config: narrow, groupSize: 64 }).matrices.size).toBe(14);
  });

  test('blocks of 4-bit floats are powers of two that bitsandbytes has', () => {
    for (const groupSize of [16, 48, 8192])
      expect(() => plan({ groupSize })).toThrow(/power of two/);
  });

  test('options of other schemes are refused', () => {
    expect(() => plan({ asymmetric: true })).toThrow(/int4 and int8/);
    expect(() => plan({ name: 'int4', doubleQuant: true })).toThrow(/nf4 and fp4/);
  });
});
