import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointWriter } from '../../src/checkpoint/writer.js';
import { randomTensor } from './random-weights.js';
import { type Shape, tensorShapes } from './shape.js';
import type { BenchTokenizer } from './tokenizer.js';

const ARCHITECTURES = { llama: 'LlamaForCausalLM', qwen2: 'Qwen2ForCausalLM' } as const;

/** Writes the random bf16 checkpoint of a shape in Hugging Face's layout. */
export async function writeCheckpoint(
  folder: string,
  shape: Shape,
  tokenizer: BenchTokenizer,
): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(configOf(shape, tokenizer), null, 2));
  writeFileSync(join(folder, 'tokenizer.json'), tokenizer.json);
  writeFileSync(join(folder, 'tokenizer_config.json'), tokenizer.config);
  const tensors = tensorShapes(shape);
  const specs = tensors.map((tensor) => ({ ...tensor, dtype: 'BF16' as const }));
  const writer = new CheckpointWriter(folder, specs);
  for (const tensor of tensors) await writer.write(tensor.name, randomTensor(tensor));
  await writer.finish();
}

/** config.json of a shape. */
export function configOf(shape: Shape, { bosId, eosId }: BenchTokenizer) {
  return {
    architectures: [ARCHITECTURES[shape.family]],
    model_type: shape.family,
    vocab_size: shape.vocab,
    hidden_size: shape.hidden,
    intermediate_size: shape.mlp,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    max_position_embeddings: shape.context,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: 'silu',
    tie_word_embeddings: shape.tied,
    torch_dtype: 'bfloat16',
    bos_token_id: bosId,
    eos_token_id: eosId,
  };
}
