import { expect, test } from 'vitest';
import { parameterSpecs, storedNames } from '../../../src/model/layout.js';

const gpt2 = {
  model_type: 'gpt2',
  vocab_size: 9,
  n_embd: 8,
  n_layer: 1,
  n_head: 2,
  n_positions: 5,
};

test('every parameter of a GPT-2, in the order of the forward pass', () => {
  const specs = parameterSpecs(gpt2);
  expect(specs.map(({ name, shape }) => `${name} ${shape.join('x')}`)).toEqual([
    'transformer.wte.weight 9x8',
    'transformer.wpe.weight 5x8',
    'transformer.h.0.ln_1.weight 8',
    'transformer.h.0.ln_1.bias 8',
    'transformer.h.0.attn.c_attn.weight 24x8',
    'transformer.h.0.attn.c_attn.bias 24',
    'transformer.h.0.attn.c_proj.weight 8x8',
    'transformer.h.0.attn.c_proj.bias 8',
    'transformer.h.0.ln_2.weight 8',
    'transformer.h.0.ln_2.bias 8',
    'transformer.h.0.mlp.c_fc.weight 32x8',
    'transformer.h.0.mlp.c_fc.bias 32',
    'transformer.h.0.mlp.c_proj.weight 8x32',
    'transformer.h.0.mlp.c_proj.bias 8',
    'transformer.ln_f.weight 8',
    'transformer.ln_f.bias 8',
  ]);
  const transposed = specs.filter((spec) => spec.transposedOnDisk).map(({ name }) => name);
  expect(transposed).toEqual(
    specs.filter((spec) => spec.role === 'linear').map(({ name }) => name),
  );
});

test('an untied head is a linear layer that is not transposed', () => {
  const head = parameterSpecs({ ...gpt2, tie_word_embeddings: false }).at(-1);
  expect(head).toMatchObject({ name: 'lm_head.weight', role: 'linear', transposedOnDisk: false });
});

test('names without the base prefix are found, and a head for its tied embedding', () => {
  const names = parameterSpecs(gpt2).map(({ name }) => name);
  const bare = names.map((name) => name.replace('transformer.', ''));
  expect([...storedNames(gpt2, new Set(bare)).values()]).toEqual(bare);
  const file = new Set(names.with(0, 'lm_head.weight'));
  expect(storedNames(gpt2, file).get('transformer.wte.weight')).toBe('lm_head.weight');
  const untied = storedNames({ ...gpt2, tie_word_embeddings: false }, file);
  expect(untied.has('transformer.wte.weight')).toBe(false);
});
