/** The sizes of a decoder, as its config.json names them. */
export interface Shape {
  readonly name: string;
  readonly family: 'llama' | 'qwen2';
  readonly hidden: number;
  readonly mlp: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly vocab: number;
  /** The output projection is the embedding. */
  readonly tied: boolean;
  readonly context: number;
}

/** A tensor of a checkpoint under its Hugging Face name. */
export interface TensorShape {
  readonly name: string;
  readonly shape: readonly number[];
}

const llama = { family: 'llama', context: 2048, tied: false } as const;

/** The shapes that can be named; the weights are random. */
export const SHAPES: readonly Shape[] = [
  { name: 'tinyllama', ...llama, ...sizes(2048, 5632, 22, 32, 4, 32000) },
  // A quarter of tinyllama's matrices: how the cost grows with the model.
  { name: 'tinyllama-quarter', ...llama, ...sizes(1024, 2816, 22, 16, 2, 32000) },
  { name: 'llama-8b', ...llama, context: 8192, ...sizes(4096, 14336, 32, 32, 8, 128256) },
  {
    name: 'qwen2.5-0.5b',
    family: 'qwen2',
    context: 2048,
    tied: true,
    ...sizes(896, 4864, 24, 14, 2, 151936),
  },
  { name: 'llama-15m', ...llama, tied: true, ...sizes(288, 768, 6, 6, 6, 32000) },
  { name: 'llama-24m', ...llama, tied: true, ...sizes(512, 1376, 6, 8, 8, 10000) },
  { name: 'tiny', ...llama, ...sizes(64, 128, 2, 4, 2, 1088) },
];

function sizes(
  hidden: number,
  mlp: number,
  layers: number,
  heads: number,
  kvHeads: number,
  vocab: number,
) {
  return { hidden, mlp, layers, heads, kvHeads, vocab };
}

/**
 * A shape by its name, or from `HIDDEN/MLP/LAYERS/HEADS/KV_HEADS/VOCAB[/tied]`.
 *
 * @throws Error when it is neither
 */
export function parseShape(text: string): Shape {
  const named = SHAPES.find(({ name }) => name === text);
  if (named) return named;
  const [hidden, mlp, layers, heads, kvHeads, vocab, tied] = text.split('/');
  const numbers = [hidden, mlp, layers, heads, kvHeads, vocab].map(Number);
  const [h = 0, m = 0, l = 0, a = 0, k = 0, v = 0] = numbers;
  const whole = numbers.every((value) => Number.isInteger(value) && value > 0);
  const fits = h % a === 0 && a % k === 0 && v >= MIN_VOCAB;
  if (!whole || !fits || (tied !== undefined && tied !== 'tied')) {
    const names = SHAPES.map(({ name }) => name).join(', ');
    throw new Error(
      `--shape ${text}: expected ${names} or HIDDEN/MLP/LAYERS/HEADS/KV_HEADS/VOCAB[/tied] ` +
        `with a vocabulary of ${MIN_VOCAB} or more`,
    );
  }
  const name = text.replaceAll('/', '-');
  return { name, ...llama, tied: tied === 'tied', ...sizes(h, m, l, a, k, v) };
}

/** Ids of the bundled tokenizer; a vocabulary is filled up from there. */
const MIN_VOCAB = 1024;

/** The tensors of a shape, [out, in] as checkpoints have them. */
export function tensorShapes(shape: Shape): TensorShape[] {
  const { hidden, vocab, layers, tied } = shape;
  const blocks = Array.from({ length: layers }, (_, i) => blockShapes(shape, i));
  return [
    { name: 'model.embed_tokens.weight', shape: [vocab, hidden] },
    ...blocks.flat(),
    { name: 'model.norm.weight', shape: [hidden] },
    ...(tied ? [] : [{ name: 'lm_head.weight', shape: [vocab, hidden] }]),
  ];
}

function blockShapes(shape: Shape, index: number): TensorShape[] {
  const { hidden, mlp, family } = shape;
  const kv = shape.kvHeads * headSize(shape);
  const attention = `model.layers.${index}.self_attn`;
  const projections = { q: hidden, k: kv, v: kv };
  const biases = family === 'qwen2' ? Object.entries(projections) : [];
  return [
    { name: `model.layers.${index}.input_layernorm.weight`, shape: [hidden] },
    ...Object.entries(projections).map(([name, rows]) => ({
      name: `${attention}.${name}_proj.weight`,
      shape: [rows, hidden],
    })),
    ...biases.map(([name, rows]) => ({ name: `${attention}.${name}_proj.bias`, shape: [rows] })),
    { name: `${attention}.o_proj.weight`, shape: [hidden, hidden] },
    { name: `model.layers.${index}.post_attention_layernorm.weight`, shape: [hidden] },
    { name: `model.layers.${index}.mlp.gate_proj.weight`, shape: [mlp, hidden] },
    { name: `model.layers.${index}.mlp.up_proj.weight`, shape: [mlp, hidden] },
    { name: `model.layers.${index}.mlp.down_proj.weight`, shape: [hidden, mlp] },
  ];
}

/** Values of one head. */
export function headSize({ hidden, heads }: Shape): number {
  return hidden / heads;
}

/** Values of all tensors. */
export function parameterCount(shape: Shape): number {
  return tensorShapes(shape).reduce((sum, { shape: axes }) => sum + product(axes), 0);
}

/** Values that a token is multiplied with: all matrices but the embedding's look-up. */
export function matmulWeights(shape: Shape): number {
  const matrices = tensorShapes(shape).filter(({ shape: axes }) => axes.length === 2);
  const all = matrices.reduce((sum, { shape: axes }) => sum + product(axes), 0);
  return shape.tied ? all : all - shape.vocab * shape.hidden;
}

function product(axes: readonly number[]): number {
  return axes.reduce((result, size) => result * size, 1);
}
