import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchContext } from '../context.js';
import { runTraining, type TrainingFigures, type TrainingKeys } from '../llmkit/run.js';
import { type Arithmetic, peakOf } from '../measure/limits.js';
import type { Contender, Metric, Work } from '../measure/work.js';
import type { Weights } from '../models/cache.js';
import { matmulWeights, parseShape, type Shape } from '../models/shape.js';
import type { Benchmark } from '../options.js';
import type { TrainJob } from '../peers/pytorch.js';
import { gigabytes } from './generation.js';
import { threadsName } from './variants.js';

const RANK = 16;

/** A training run: what is trained, on how many tokens. */
interface Run {
  readonly title: string;
  readonly shape: Shape;
  readonly weights: Weights;
  readonly method: 'lora' | 'full';
  readonly batch: number;
  readonly tokens: number;
  readonly checkpointing: boolean;
  /** Passes over the weights per token: forward and dX, and dW where they are trained. */
  readonly passes: number;
  readonly arithmetic: Arithmetic;
}

/** Steps of LoRA, QLoRA and full training, with as many threads as are named at most. */
export function trainingWorks(context: BenchContext): Work[] {
  return [...adapterWorks(context), fullTrainingWork(context)];
}

/** Steps of LoRA and QLoRA. */
export function adapterWorks(context: BenchContext): Work[] {
  const { benchmark, shape } = context.options;
  // A run on a GPU has them of several shapes.
  const ending = benchmark === 'cuda' ? `, ${shape.name}` : '';
  return adapterRuns(context).map((run) =>
    workOf(context, { ...run, title: `${run.title}${ending}` }),
  );
}

/** Steps of full training, of a shape of its own. */
export function fullTrainingWork(context: BenchContext): Work {
  const { shape, quick } = context.options;
  return workOf(context, {
    title: 'full training, 24 M',
    shape: quick ? shape : parseShape('llama-24m'),
    method: 'full',
    weights: 'bf16',
    batch: 4,
    passes: 3,
    checkpointing: false,
    tokens: tokensOf(context),
    arithmetic: 'bf16',
  });
}

function workOf(context: BenchContext, run: Run): Work {
  const threads = Math.max(...context.options.threads);
  const name = `${run.title} B=${run.batch} S=${run.tokens}, ${threadsName(threads)}`;
  return {
    name,
    threads,
    metrics: metricsOf(run, name, context.options.benchmark),
    open: () => contenders(context, run, threads),
  };
}

/** Of an example that is not four times as long. */
function tokensOf({ options: { quick, benchmark } }: BenchContext): number {
  if (quick) return 64;
  return benchmark === 'cuda' ? 1024 : 512;
}

function adapterRuns(context: BenchContext): Run[] {
  const { shape, benchmark } = context.options;
  const tokens = tokensOf(context);
  const lora = { shape, method: 'lora', batch: 1, passes: 2, checkpointing: false } as const;
  const bf16 = { arithmetic: 'bf16' } as const;
  const recompute = { passes: 3, checkpointing: true, tokens: 4 * tokens } as const;
  const checkpointed = { ...lora, ...bf16, ...recompute };
  // What QLoRA is held against on a GPU, where its time may not be much more.
  const long = { title: `LoRA r=${RANK}, bf16, checkpointing`, weights: 'bf16' } as const;
  return [
    { title: `LoRA r=${RANK}, bf16`, ...lora, ...bf16, weights: 'bf16', tokens },
    { title: `QLoRA r=${RANK}, nf4`, ...lora, ...bf16, weights: 'nf4', tokens },
    { title: `QLoRA r=${RANK}, int4`, ...lora, ...bf16, weights: 'int4', tokens },
    { title: `QLoRA r=${RANK}, nf4, checkpointing`, ...checkpointed, weights: 'nf4' },
    ...(benchmark === 'cuda' ? [{ ...checkpointed, ...long }] : []),
  ];
}

function metricsOf(
  { shape, passes, arithmetic }: Run,
  name: string,
  benchmark: Benchmark,
): Metric[] {
  const memory = benchmark === 'cuda' ? 'GPU memory' : 'memory';
  const operations = 2 * passes * matmulWeights(shape);
  return [
    {
      key: 'rate',
      work: name,
      unit: 'tok/s',
      better: 'higher',
      limit: (peaks) => (peakOf(peaks, arithmetic) * 1e9) / operations,
    },
    { key: 'peak', work: `${memory} of ${name}`, unit: 'GB', better: 'lower' },
  ];
}

async function contenders(context: BenchContext, run: Run, threads: number): Promise<Contender[]> {
  const { models, options, peers } = context;
  const { method, batch, tokens, checkpointing } = run;
  const steps = options.quick ? 1 : 2;
  const figures = ({ stepSeconds, peakBytes, devicePeakBytes }: TrainingFigures) => ({
    rate: (batch * tokens) / stepSeconds,
    peak: gigabytes(options.benchmark === 'cuda' ? devicePeakBytes : peakBytes),
  });
  const model = await models.checkpoint(run.shape, run.weights, options.groupSize);
  const keys = trainingKeys(context, run, { model, threads, max_steps: steps + 1 });
  const found: Contender[] = [
    { name: 'llmkit', measure: async () => figures(await runTraining(context, keys)) },
  ];
  const { pyTorch } = peers;
  if (pyTorch) {
    const base = await models.checkpoint(run.shape, 'bf16', options.groupSize);
    const job: TrainJob = {
      ...{ model: base, threads, method, batch, tokens, checkpointing, steps },
      device: options.benchmark,
      rank: RANK,
    };
    const name = method === 'lora' ? 'PyTorch + PEFT bf16' : 'PyTorch bf16';
    found.push({ name, measure: async () => figures(await pyTorch.train(job)) });
  }
  return found;
}

function trainingKeys(
  context: BenchContext,
  { method, batch, tokens, checkpointing }: Run,
  keys: TrainingKeys,
): TrainingKeys {
  return {
    ...keys,
    method,
    data: { path: trainingData(context, tokens), format: 'text' },
    max_length: tokens,
    batch_size: batch,
    gradient_checkpointing: checkpointing,
    learning_rate: 1e-4,
    backend: 'native',
    ...(method === 'lora' && { lora: { r: RANK, alpha: 2 * RANK } }),
  };
}

const EXAMPLES = 16;

/** Texts that are longer than the examples: each is cut to exactly `tokens`. */
function trainingData({ models, text }: BenchContext, tokens: number): string {
  const path = join(models.folder, `text-${tokens}.jsonl`);
  const source = readFileSync(text, 'utf8');
  const long = source.repeat(Math.ceil((8 * tokens) / source.length)).slice(0, 8 * tokens);
  const lines = Array.from({ length: EXAMPLES }, (_, i) =>
    JSON.stringify({ text: long.slice(97 * i) + long.slice(0, 97 * i) }),
  );
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}
