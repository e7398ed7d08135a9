import type { Dataset } from '../../data/dataset.js';
import { type Example, rowLength, trainedTokens } from '../../data/example.js';
import type { DecoderConfig } from '../../model/config.js';
import { decoderConfig } from '../../model/families/index.js';
import { moduleOf, type ParameterSpec, specsOf } from '../../model/layout.js';
import type { Tokenizer } from '../../tokenizer/tokenizer.js';
import { targetModules } from '../../tune/peft/targets.js';
import { type Base, openBase } from './base.js';
import type { TrainingConfig } from './config.js';
import { dataNotes, loadTrainingData, type TrainingData } from './data.js';
import { loraConfig } from './lora.js';
import { quantizeOnLoad } from './quantize-on-load.js';

/** A rendered example: its text in pieces that are trained or masked. */
export interface ShownExample {
  readonly where: string;
  readonly tokens: number;
  readonly trained_tokens: number;
  readonly pieces: readonly { readonly text: string; readonly trained: boolean }[];
}

/** What a run would do; the keys are those of `--json`. */
export interface TrainingPlan {
  readonly output: string;
  readonly examples: readonly ShownExample[];
  readonly lengths: {
    readonly min: number;
    readonly median: number;
    readonly mean: number;
    readonly max: number;
  };
  readonly notes: readonly string[];
  readonly truncated: number;
  readonly skipped: number;
  readonly steps: number;
  readonly steps_per_epoch: number;
  readonly trainable_params: number;
  readonly all_params: number;
  readonly memory_peak_bytes: number;
  readonly estimated_seconds: number;
}

const SHOWN_EXAMPLES = 2;
const FLOAT_BYTES = 4;
/** Weight, gradient and two moments of each trained parameter. */
const TRAINED_COPIES = 4;
/** Node itself, the tokenizer, pooled buffers; measured. */
const WORKING_BYTES = 300e6;
/** Of one core with the native backend; for the estimate only. */
const FLOPS_PER_SECOND = 40e9;

/** Plans a run from its data and from config.json and headers alone; loads no weights. */
export async function planTraining(config: TrainingConfig): Promise<TrainingPlan> {
  const base = await openBase(config);
  try {
    const data = loadTrainingData(config, base);
    const { examples, stats } = data.train;
    const sizes = sizesOf(config, base);
    return {
      output: config.output_dir,
      examples: examples.slice(0, SHOWN_EXAMPLES).map((item) => show(item, base.tokenizer)),
      lengths: lengthsOf(data.train),
      notes: dataNotes(data),
      truncated: stats.truncated,
      skipped: stats.skipped,
      steps: data.totalSteps,
      steps_per_epoch: data.plan.stepsPerEpoch,
      trainable_params: sizes.trainable,
      all_params: sizes.all,
      memory_peak_bytes: Math.round(peakBytes(config, { base, data, sizes })),
      estimated_seconds: seconds(config, data, sizes),
    };
  } finally {
    base.checkpoint?.close();
  }
}

function show(example: Example, tokenizer: Tokenizer): ShownExample {
  const pieces: { ids: number[]; trained: boolean }[] = [];
  example.ids.forEach((id, i) => {
    const trained = i > 0 && example.trained[i] === 1;
    const last = pieces.at(-1);
    if (last?.trained === trained) last.ids.push(id);
    else pieces.push({ ids: [id], trained });
  });
  const decode = (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: false });
  return {
    where: example.where,
    tokens: example.ids.length,
    trained_tokens: trainedTokens(example),
    pieces: pieces.map(({ ids, trained }) => ({ text: decode(ids), trained })),
  };
}

function lengthsOf({ examples, stats }: Dataset): TrainingPlan['lengths'] {
  const lengths = examples.map(({ ids }) => ids.length).sort((a, b) => a - b);
  return {
    min: lengths[0] ?? 0,
    median: lengths[lengths.length >> 1] ?? 0,
    mean: Math.round(stats.tokens / examples.length),
    max: stats.longest,
  };
}

interface Sizes {
  readonly trainable: number;
  readonly all: number;
  /** Bytes of the weights as they are held while training. */
  readonly weightBytes: number;
  readonly decoder: DecoderConfig;
  readonly targets: readonly ParameterSpec[];
}

function sizesOf(config: TrainingConfig, base: Base): Sizes {
  const decoder = decoderConfig(base.hfConfig);
  const specs = specsOf(decoder);
  const baseSize = sum(specs.map(sizeOf));
  if (config.method === 'full') {
    const weightBytes = baseSize * FLOAT_BYTES;
    return { trainable: baseSize, all: baseSize, weightBytes, decoder, targets: [] };
  }
  const targets = targetsOf(config, specs);
  const added = config.lora.r * sum(targets.flatMap(({ shape }) => shape));
  const biases = trainedBiases(config, specs, targets);
  const weightBytes = weightBytesOf(config, base);
  return { trainable: added + biases, all: baseSize + added, weightBytes, decoder, targets };
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

/** Weights, what is trained, and the activations that one micro-batch keeps for its backward pass. */
function peakBytes(
  config: TrainingConfig,
  { base, data, sizes }: { base: Base; data: TrainingData; sizes: Sizes },
): number {
  const longest = Math.max(...data.rows.map(rowLength));
  const tokens = longest * config.batch_size;
  const perToken = activationFloats(config, sizes);
  const trained = sizes.trainable * (TRAINED_COPIES - (base.checkpoint ? 0 : 1)) * FLOAT_BYTES;
  return WORKING_BYTES + sizes.weightBytes + trained + tokens * perToken * FLOAT_BYTES;
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

/** Two passes over the weights per token, and for full training a third. */
function seconds(config: TrainingConfig, { plan, totalSteps, train }: TrainingData, sizes: Sizes) {
  const tokens = (train.stats.tokens / plan.stepsPerEpoch) * totalSteps;
  const flopsPerToken = sizes.all * (config.method === 'full' ? 6 : 4);
  return Math.round((tokens * flopsPerToken) / FLOPS_PER_SECOND);
}
