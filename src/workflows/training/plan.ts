import type { DownloadOptions } from '../../checkpoint/hub.js';
import type { Dataset } from '../../data/dataset.js';
import { type Example, trainedTokens } from '../../data/example.js';
import type { Tokenizer } from '../../tokenizer/tokenizer.js';
import { openBase } from './base.js';
import type { TrainingConfig } from './config.js';
import { dataNotes, loadTrainingData, type TrainingData } from './data.js';
import { memoryPeak } from './memory.js';
import { type Sizes, sizesOf } from './sizes.js';

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
/** Of one core with the native backend; for the estimate only. */
const FLOPS_PER_SECOND = 40e9;

/** Plans a run from its data and from config.json and headers alone; loads no weights. */
export async function planTraining(
  config: TrainingConfig,
  download: DownloadOptions = {},
): Promise<TrainingPlan> {
  const base = await openBase(config, download);
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
      memory_peak_bytes: Math.round(memoryPeak(config, { base, data, sizes })),
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

/** Two passes over the weights per token, and for full training a third. */
function seconds(config: TrainingConfig, { plan, totalSteps, train }: TrainingData, sizes: Sizes) {
  const tokens = (train.stats.tokens / plan.stepsPerEpoch) * totalSteps;
  const flopsPerToken = sizes.all * (config.method === 'full' ? 6 : 4);
  return Math.round((tokens * flopsPerToken) / FLOPS_PER_SECOND);
}
