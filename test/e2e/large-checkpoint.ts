import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointWriter, toDtype, writeSafetensors } from '../../src/checkpoint/writer.js';
import { randomNormal } from '../helpers/random.js';

const SIZES = { vocab: 1024, hidden: 2048, mlp: 8192, layers: 5, heads: 16 };
const R = 8;

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: SIZES.vocab,
  hidden_size: SIZES.hidden,
  intermediate_size: SIZES.mlp,
  num_hidden_layers: SIZES.layers,
  num_attention_heads: SIZES.heads,
  num_key_value_heads: SIZES.heads,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
};

/** Values of the largest matrix. */
export const LARGEST_MATRIX = SIZES.hidden * SIZES.mlp;

/** Writes a bf16 Llama of about 680 MB in four shards: a random megabyte, repeated, for weights. */
export async function writeLargeCheckpoint(folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    copyFileSync(join('fixtures', 'models', 'tales-2m', name), join(folder, name));
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(CONFIG));
  const specs = shapes().map(([name, shape]) => ({ name, dtype: 'BF16' as const, shape }));
  const writer = new CheckpointWriter(folder, specs, { maxShardBytes: 180e6 });
  const weights = Buffer.alloc(2 * LARGEST_MATRIX, noise(2 ** 19, 0.02));
  const ones = toDtype(new Float32Array(SIZES.hidden).fill(1), 'BF16');
  for (const { name, shape } of specs) {
    const values = shape.reduce((size, length) => size * length, 1);
    await writer.write(name, shape.length === 1 ? ones : weights.subarray(0, 2 * values));
  }
  await writer.finish();
  return folder;
}

/** Writes a PEFT folder that adapts two layers of every block. */
export async function writeLargeAdapter(folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const config = {
    peft_type: 'LORA',
    r: R,
    lora_alpha: 2 * R,
    target_modules: ['q_proj', 'down_proj'],
  };
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config));
  const modules = shapes().filter(([name]) => /(q_proj|down_proj)\.weight$/.test(name));
  const parts = modules.flatMap(([name, [rows = 0, cols = 0]]) => {
    const prefix = `base_model.model.${name.slice(0, -'.weight'.length)}`;
    return [
      [`${prefix}.lora_A.weight`, part([R, cols])] as const,
      [`${prefix}.lora_B.weight`, part([rows, R])] as const,
    ];
  });
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), new Map(parts));
  return folder;
}

function part(shape: readonly [number, number]) {
  return { dtype: 'BF16' as const, shape, bytes: noise(shape[0] * shape[1], 0.02) };
}

function noise(values: number, deviation: number): Uint8Array {
  return toDtype(
    randomNormal(values).map((x) => deviation * x),
    'BF16',
  );
}

function shapes(): [string, number[]][] {
  const { vocab, hidden, mlp, layers } = SIZES;
  const blocks = Array.from({ length: layers }, (_, i): [string, number[]][] => [
    ...['q', 'k', 'v', 'o'].map((name): [string, number[]] => [
      `model.layers.${i}.self_attn.${name}_proj.weight`,
      [hidden, hidden],
    ]),
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
