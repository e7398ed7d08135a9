import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NamedTensor, writeSafetensors } from '../../src/checkpoint/writer.js';
import { randomNormal } from '../helpers/random.js';

/** The tokenizer has 1024 ids; 64 columns divide into every group size. */
const SIZES = { vocab: 1024, hidden: 64, mlp: 128, layers: 2, heads: 4, kvHeads: 2 };

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: SIZES.vocab,
  hidden_size: SIZES.hidden,
  intermediate_size: SIZES.mlp,
  num_hidden_layers: SIZES.layers,
  num_attention_heads: SIZES.heads,
  num_key_value_heads: SIZES.kvHeads,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  torch_dtype: 'float32',
};

/**
 * Writes a small Llama with random weights and the bundled tokenizer, the same bytes every time.
 *
 * @returns the folder
 */
export async function writeTinyCheckpoint(folder: string, contextTokens = 128): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const tokenizer = join('fixtures', 'models', 'tales-2m');
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']) {
    copyFileSync(join(tokenizer, name), join(folder, name));
  }
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ ...CONFIG, max_position_embeddings: contextTokens }),
  );
  const tensors = shapes().map(([name, shape], seed): [string, NamedTensor] => {
    const isNorm = shape.length === 1;
    const size = shape.reduce((product, length) => product * length, 1);
    const values = randomNormal(size, seed).map((x) => (isNorm ? 1 + 0.1 * x : 0.2 * x));
    return [name, { name, dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) }];
  });
  await writeSafetensors(join(folder, 'model.safetensors'), new Map(tensors), { format: 'pt' });
  return folder;
}

function shapes(): [string, number[]][] {
  const { vocab, hidden, mlp, layers, heads, kvHeads } = SIZES;
  const kv = (hidden / heads) * kvHeads;
  const blocks = Array.from({ length: layers }, (_, i): [string, number[]][] => [
    [`model.layers.${i}.self_attn.q_proj.weight`, [hidden, hidden]],
    [`model.layers.${i}.self_attn.k_proj.weight`, [kv, hidden]],
    [`model.layers.${i}.self_attn.v_proj.weight`, [kv, hidden]],
    [`model.layers.${i}.self_attn.o_proj.weight`, [hidden, hidden]],
    [`model.layers.${i}.mlp.gate_proj.weight`, [mlp, hidden]],
    [`model.layers.${i}.mlp.up_proj.weight`, [mlp, hidden]],
    [`model.layers.${i}.mlp.down_proj.weight`, [hidden, mlp]],
    [`model.layers.${i}.input_layernorm.weight`, [hidden]],
    [`model.layers.${i}.post_attention_layernorm.weight`, [hidden]],
  ]);
  return [
    ['model.embed_tokens.weight', [vocab, hidden]],
    ...blocks.flat(),
    ['model.norm.weight', [hidden]],
  ];
}
