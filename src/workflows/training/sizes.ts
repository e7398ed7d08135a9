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
  /** Values of the largest parameter, where all are trained; else 0. */
  readonly largest: number;
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
      largest: Math.max(...specs.map(sizeOf)),
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
    ...{ stateBytes: states + stateBytes(biases, false), largest: 0 },
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
