import { rowLength } from '../../data/example.js';
import type { DecoderConfig } from '../../model/config.js';
import { decoderConfig } from '../../model/families/index.js';
import { moduleOf, type ParameterSpec, specsOf } from '../../model/layout.js';
import { roundsStates, stateBytes } from '../../tune/optimizer.js';
import { targetModules } from '../../tune/peft/targets.js';
import type { Base } from './base.js';
import type { TrainingConfig } from './config.js';
import type { TrainingData } from './data.js';
import { loraConfig } from './lora.js';
import { quantizeOnLoad } from './quantize-on-load.js';

export const FLOAT_BYTES = 4;
/** Node itself, the tokenizer, pooled buffers; measured. */
const WORKING_BYTES = 300e6;
/** Of the weights in a checkpoint: as they are trained, and as an adapter. */
const STORED_WEIGHTS = 2;

/** Parameters and bytes of a run, from config.json and headers alone. */
export interface Sizes {
  readonly trainable: number;
  readonly all: number;
  /** Bytes of the weights as they are held while training. */
  readonly weightBytes: number;
  /** Bytes of the optimizer's states. */
  readonly stateBytes: number;
  readonly decoder: DecoderConfig;
  readonly targets: readonly ParameterSpec[];
}

/** What a run trains and holds. */
export function sizesOf(config: TrainingConfig, base: Base): Sizes {
  const decoder = decoderConfig(base.hfConfig);
  const specs = specsOf(decoder);
  const baseSize = sum(specs.map(sizeOf));
  if (config.method === 'full') {
    const weightBytes = baseSize * FLOAT_BYTES;
    const states = sum(specs.map((spec) => parameterStateBytes(config, sizeOf(spec), spec.role)));
    return {
      ...{ trainable: baseSize, all: baseSize, weightBytes, stateBytes: states },
      ...{ decoder, targets: [] },
    };
  }
  const targets = targetsOf(config, specs);
  const added = config.lora.r * sum(targets.flatMap(({ shape }) => shape));
  const biases = trainedBiases(config, specs, targets);
  const weightBytes = weightBytesOf(config, base);
  const matrices = targets.flatMap(({ shape }) => shape.map((length) => length * config.lora.r));
  const states = sum(matrices.map((size) => parameterStateBytes(config, size)));
  return {
    ...{ trainable: added + biases, all: baseSize + added, weightBytes },
    stateBytes: states + stateBytes(biases, false),
    ...{ decoder, targets },
  };
}

/** Bytes of the optimizer's states of one trained parameter. */
export function parameterStateBytes(
  { optim }: TrainingConfig,
  size: number,
  role: ParameterSpec['role'] = 'linear',
): number {
  return stateBytes(size, optim === 'adamw_8bit' && roundsStates(size, role));
}

function sizeOf({ shape }: ParameterSpec): number {
  return shape.reduce((product, length) => product * length, 1);
}

function targetsOf(config: TrainingConfig, specs: readonly ParameterSpec[]): ParameterSpec[] {
  const linears = specs.filter(({ role }) => role === 'linear');
  const modules = linears.map(({ name }) => moduleOf(name));
  const chosen = new Set(targetModules(loraConfig(config), modules));
  return linears.filter(({ name }) => chosen.has(moduleOf(name)));
}

function trainedBiases(
  { lora }: TrainingConfig,
  specs: readonly ParameterSpec[],
  targets: readonly ParameterSpec[],
): number {
  if (lora.bias === 'none') return 0;
  const adapted = new Set(targets.map(({ name }) => moduleOf(name)));
  const isTrained = ({ name, role }: ParameterSpec) =>
    role === 'bias' && (lora.bias === 'all' || adapted.has(moduleOf(name)));
  return sum(specs.filter(isTrained).map(sizeOf));
}

function weightBytesOf(config: TrainingConfig, { checkpoint }: Base): number {
  if (!checkpoint) return 0;
  const quantization = quantizeOnLoad(config, checkpoint);
  let bytes = 0;
  for (const { name, sizeBytes } of checkpoint.tensors.values()) {
    const planned = quantization?.plan.matrices.get(moduleOf(name));
    if (!quantization || !planned || !name.endsWith('.weight')) {
      bytes += sizeBytes;
      continue;
    }
    const { scheme } = quantization.plan;
    bytes += (planned.rows * planned.cols * scheme.bits) / 8;
    bytes += (planned.rows * planned.cols * FLOAT_BYTES) / planned.groupSize;
  }
  return bytes;
}

/** What a run works on. */
interface Worked {
  readonly base: Base;
  readonly data: TrainingData;
  readonly sizes: Sizes;
}

/** Weights, what is trained, and the activations that one micro-batch keeps for its backward pass. */
export function memoryPeak(config: TrainingConfig, worked: Worked): number {
  return WORKING_BYTES + worked.sizes.weightBytes + trainingBytes(config, worked);
}

/** The same without the weights that are not trained. */
export function trainingBytes(config: TrainingConfig, worked: Worked): number {
  const { base, sizes } = worked;
  // Fresh weights are counted among the weights already; of others a gradient and the values that are trained.
  const copies = base.checkpoint ? 2 : 1;
  const trained = copies * sizes.trainable * FLOAT_BYTES + sizes.stateBytes;
  return trained + activationBytes(config, worked);
}

/** What one micro-batch keeps for its backward pass. */
export function activationBytes(config: TrainingConfig, { data, sizes }: Worked): number {
  const longest = Math.max(...data.rows.map(rowLength));
  return longest * config.batch_size * activationFloats(config, sizes) * FLOAT_BYTES;
}

/** Floats kept per token: what each fused op saves for its gradient. */
function activationFloats(config: TrainingConfig, { decoder, targets }: Sizes): number {
  const { hiddenSize: D, intermediateSize: F, numLayers, headSize: E } = decoder;
  const [queries, keys] = [decoder.numHeads * E, decoder.numKvHeads * E];
  const dropped = config.lora.dropout > 0 ? sum(targets.map(({ shape }) => shape[1] ?? 0)) : 0;
  const block = 4 * D + 3 * queries + 4 * keys + 4 * F + dropped / numLayers;
  const kept = config.gradient_checkpointing ? numLayers * D + block : numLayers * block;
  return kept + 3 * D;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Bytes of every checkpoint that a run keeps, and of its result. */
export function diskBytes(
  config: TrainingConfig,
  { totalSteps }: TrainingData,
  sizes: Sizes,
): number {
  const saves = Math.ceil(totalSteps / config.save_steps);
  const kept = Math.min(saves, config.save_total_limit ?? saves);
  const weights = sizes.trainable * FLOAT_BYTES;
  return kept * (STORED_WEIGHTS * weights + sizes.stateBytes) + weights;
}
