import { rowLength } from '../../data/example.js';
import { computeOf, isBf16 } from '../../tensor/compute.js';
import type { WeightFormat } from '../../tensor/weight.js';
import type { Base } from './base.js';
import type { TrainingConfig } from './config.js';
import type { TrainingData } from './data.js';
import { FLOAT_BYTES, type Sizes } from './sizes.js';
import { fileDtype } from './trainee.js';

const HALF_BYTES = 2;
/** Node.js, the tokenizer, working memory of two threads, garbage that is not collected yet; measured. */
const WORKING_BYTES = 230e6;
/** Arrays that wait for reuse, beside those in use. */
const POOLED = 1.35;
/** Values of the logits that the loss keeps for its gradient, at most (kernels/cpu/cross_entropy). */
const MOST_KEPT_OF_LOSS = 2 ** 25;
/** Float32 arrays as wide as the MLP, and as the residual stream, that a block's gradient works on at one time. */
const WIDE_GRADIENTS = 3;
const STREAM_GRADIENTS = 4;
/** Tensors as large as the largest parameter that its gradient takes: a tied table has two, which are added. */
const LARGEST_GRADIENTS = 2;

/** What a run works on. */
export interface Worked {
  readonly base: Base;
  readonly data: TrainingData;
  readonly sizes: Sizes;
}

/** Weights, what is trained, and the activations of one micro-batch; at most 1.6 times what runs were seen to take. */
export function memoryPeak(config: TrainingConfig, worked: Worked): number {
  return WORKING_BYTES + worked.sizes.weightBytes + trainingBytes(config, worked);
}

/** The same without the weights that are there before training. */
export function trainingBytes(config: TrainingConfig, worked: Worked): number {
  const { trainable, largest, stateBytes } = worked.sizes;
  // All weights are counted already where all are trained; of others a gradient and the values that are trained.
  const full = config.method === 'full';
  const values = full ? trainable + LARGEST_GRADIENTS * largest : 2 * trainable;
  return values * FLOAT_BYTES + stateBytes + activationBytes(config, worked);
}

/** What one micro-batch keeps for its backward pass, and what that works on. */
export function activationBytes(config: TrainingConfig, worked: Worked): number {
  const longest = Math.max(...worked.data.rows.map(rowLength));
  const tokens = longest * config.batch_size;
  return (
    POOLED * (tokens * bytesPerToken(config, worked) + keptOfLossBytes(tokens, config, worked))
  );
}

function keptOfLossBytes(tokens: number, config: TrainingConfig, worked: Worked): number {
  const values = tokens * worked.sizes.decoder.vocabSize;
  const isKept = heldBytes(config, worked) === HALF_BYTES && values <= MOST_KEPT_OF_LOSS;
  return isKept ? values * HALF_BYTES : 0;
}

function bytesPerToken(config: TrainingConfig, worked: Worked): number {
  const { hiddenSize: D, intermediateSize: F, numLayers } = worked.sizes.decoder;
  const stream = D * FLOAT_BYTES;
  const block = blockBytes(config, worked);
  const kept = config.gradient_checkpointing ? numLayers * stream + block : numLayers * block;
  const gradients = WIDE_GRADIENTS * F * FLOAT_BYTES + STREAM_GRADIENTS * stream;
  const ends = 3 * stream; // of the last norm and the loss
  return kept + F * heldBytes(config, worked) + gradients + ends;
}

/** What the gradients of one block keep of a token; norms, gates and dropout are made again from it. */
function blockBytes(config: TrainingConfig, worked: Worked): number {
  const { decoder, targets } = worked.sizes;
  const { hiddenSize: D, intermediateSize: F, headSize: E, names } = decoder;
  const [queries, keys] = [decoder.numHeads * E, decoder.numKvHeads * E];
  const turned = decoder.qkNorm ? 2 : 1; // with norms of their own, also what goes into those
  const attention = queries + keys + turned * (queries + keys);
  const mlp = names.mlpIn.length * F;
  // A weight that is trained wants what it was multiplied with.
  const factors = config.method === 'full' ? 2 * D + F : 0;
  const low = (config.lora.r * targets.length) / decoder.numLayers;
  const floats = 2 * D + decoder.numHeads + low;
  return heldBytes(config, worked) * (attention + mlp + factors) + FLOAT_BYTES * floats;
}

/** Bytes of an activation that is no more exact than the products it goes into. */
function heldBytes(config: TrainingConfig, { base }: Worked): number {
  const format = formatOf(config, base);
  return isBf16(computeOf(config.compute ?? 'auto', 'train', format)) ? HALF_BYTES : FLOAT_BYTES;
}

/** How the matrices of the layers are stored, as far as their arithmetic goes. */
function formatOf(config: TrainingConfig, base: Base): WeightFormat {
  const { checkpoint } = base;
  if (!checkpoint) return fileDtype(config, base) === 'F32' ? 'f32' : 'bf16';
  if (config.load_in_4bit || checkpoint.quantized.size > 0) return 'nf4';
  const matrices = [...checkpoint.tensors.values()].filter(({ shape }) => shape.length === 2);
  const dtype = matrices[0]?.dtype;
  return dtype === 'BF16' || dtype === 'F16' ? 'bf16' : 'f32';
}
