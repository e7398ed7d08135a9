import { type GgufTensor, type GgufType, type GgufValue, writeGguf } from './gguf.js';
import { floats, packQ4 } from './q4-0.js';
import { randomTensor } from './random-weights.js';
import { headSize, type Shape, type TensorShape, tensorShapes } from './shape.js';
import type { BenchTokenizer } from './tokenizer.js';

const LAYER_NAMES: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

const OUTER_NAMES: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
};

/** llama.cpp's name of a checkpoint's tensor. */
export function ggufName(name: string): string {
  const match = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name);
  if (!match) return OUTER_NAMES[name] as string;
  const [, layer, part = '', kind] = match;
  return `blk.${layer}.${LAYER_NAMES[part]}.${kind}`;
}

/** Writes the random checkpoint of a shape as GGUF, matrices as `type`, the rest in F32. */
export async function writeGgufModel(
  path: string,
  shape: Shape,
  { type, tokenizer }: { type: Exclude<GgufType, 'F32'>; tokenizer: BenchTokenizer },
): Promise<void> {
  const tensors = tensorShapes(shape).map((tensor): GgufTensor => {
    const isMatrix = tensor.shape.length === 2;
    return {
      name: ggufName(tensor.name),
      shape: tensor.shape,
      type: isMatrix ? type : 'F32',
      bytes: () => encode(ordered(randomTensor(tensor), tensor, shape), isMatrix ? type : 'F32'),
    };
  });
  await writeGguf(path, metadataOf(shape, tokenizer, type), tensors);
}

function encode(bf16: Uint8Array, type: GgufType): Uint8Array {
  if (type === 'F32') return new Uint8Array(floats(bf16).buffer);
  return type === 'Q4_0' ? packQ4(bf16) : bf16;
}

/** llama's rotary pairs are (2i, 2i + 1) in GGUF and (i, i + E/2) in a checkpoint: rows move. */
function ordered(bf16: Buffer, { name, shape: axes }: TensorShape, shape: Shape): Buffer {
  if (shape.family !== 'llama' || !/self_attn\.[qk]_proj\.weight$/.test(name)) return bf16;
  const [rows = 0, columns = 0] = axes;
  const size = headSize(shape);
  const moved = Buffer.alloc(bf16.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % size;
    const source = row - inHead + (inHead >> 1) + (inHead % 2) * (size / 2);
    bf16.copy(moved, 2 * row * columns, 2 * source * columns, 2 * (source + 1) * columns);
  }
  return moved;
}

/** llama.cpp's numbers of the file types. */
const FILE_TYPES = { BF16: 32, Q4_0: 2 } as const;
const NORMAL_TOKEN = 1;
const CONTROL_TOKEN = 3;

function metadataOf(
  shape: Shape,
  tokenizer: BenchTokenizer,
  type: keyof typeof FILE_TYPES,
): Record<string, GgufValue> {
  const { family } = shape;
  const u32 = (value: number): GgufValue => ({ type: 'u32', value });
  const f32 = (value: number): GgufValue => ({ type: 'f32', value });
  const string = (value: string): GgufValue => ({ type: 'string', value });
  const kinds = tokenizer.tokens.map((_, id) =>
    tokenizer.special.has(id) ? CONTROL_TOKEN : NORMAL_TOKEN,
  );
  return {
    'general.architecture': string(family),
    'general.name': string(shape.name),
    'general.file_type': u32(FILE_TYPES[type]),
    'general.quantization_version': u32(2),
    [`${family}.block_count`]: u32(shape.layers),
    [`${family}.context_length`]: u32(shape.context),
    [`${family}.embedding_length`]: u32(shape.hidden),
    [`${family}.feed_forward_length`]: u32(shape.mlp),
    [`${family}.attention.head_count`]: u32(shape.heads),
    [`${family}.attention.head_count_kv`]: u32(shape.kvHeads),
    [`${family}.attention.layer_norm_rms_epsilon`]: f32(1e-5),
    [`${family}.rope.dimension_count`]: u32(headSize(shape)),
    [`${family}.rope.freq_base`]: f32(10000),
    [`${family}.vocab_size`]: u32(shape.vocab),
    'tokenizer.ggml.model': string('gpt2'),
    'tokenizer.ggml.pre': string('gpt-2'),
    'tokenizer.ggml.tokens': { type: 'strings', value: tokenizer.tokens },
    'tokenizer.ggml.token_type': { type: 'i32s', value: kinds },
    'tokenizer.ggml.merges': { type: 'strings', value: tokenizer.merges },
    'tokenizer.ggml.bos_token_id': u32(tokenizer.bosId),
    'tokenizer.ggml.eos_token_id': u32(tokenizer.eosId),
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
  };
}
