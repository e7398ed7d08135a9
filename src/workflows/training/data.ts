import { BatchPlan, inBatches } from '../../data/batches.js';
import { type DataSource, type Dataset, loadDataset } from '../../data/dataset.js';
import type { Row } from '../../data/example.js';
import { packRows, singleRows } from '../../data/packing.js';
import { LlmkitError } from '../../errors.js';
import type { EvaluationOptions } from '../../tune/loop.js';
import type { Base } from './base.js';
import type { TrainingConfig } from './config.js';

const DEFAULT_MAX_LENGTH = 1024;

/** The data of a run, encoded, and how it is walked through. */
export interface TrainingData {
  readonly maxLength: number;
  readonly train: Dataset;
  readonly rows: readonly Row[];
  readonly plan: BatchPlan;
  readonly totalSteps: number;
  readonly evaluation?: EvaluationOptions & { readonly dataset: Dataset };
}

/** Reads and encodes a run's data. @throws LlmkitError `config` naming what does not fit */
export function loadTrainingData(config: TrainingConfig, base: Base): TrainingData {
  const maxLength = maxLengthOf(config, base);
  const options = { maxLength, trainOn: config.train_on };
  const train = loadDataset(config.data, base.tokenizer, options);
  const rows = config.packing ? packRows(train.examples, maxLength) : singleRows(train.examples);
  const plan = new BatchPlan(rows, {
    batchSize: config.batch_size,
    accumulation: config.gradient_accumulation_steps,
    seed: config.seed,
    shuffle: config.shuffle,
  });
  const totalSteps = config.max_steps ?? Math.ceil(config.epochs * plan.stepsPerEpoch);
  if (config.warmup_steps > totalSteps) {
    throw new LlmkitError(
      'config',
      `warmup_steps: must be at most the run's ${totalSteps} steps, got ${config.warmup_steps}`,
    );
  }
  const data = { maxLength, train, rows, plan, totalSteps };
  if (!config.eval_data) return data;
  const dataset = loadDataset(config.eval_data, base.tokenizer, options);
  return { ...data, evaluation: { ...evaluationOf(config, dataset, plan), dataset } };
}

function maxLengthOf({ max_length }: TrainingConfig, { contextLength }: Base): number {
  const maxLength = max_length ?? Math.min(DEFAULT_MAX_LENGTH, contextLength);
  if (maxLength <= contextLength) return maxLength;
  throw new LlmkitError(
    'config',
    `max_length: must be at most the model's context of ${contextLength} tokens, got ${maxLength}`,
  );
}

function evaluationOf(
  config: TrainingConfig,
  dataset: Dataset,
  plan: BatchPlan,
): EvaluationOptions {
  return {
    batches: inBatches(singleRows(dataset.examples), config.eval_batch_size ?? config.batch_size),
    everySteps: config.eval_steps ?? plan.stepsPerEpoch,
    patience: config.early_stopping_patience,
    saveBest: config.load_best_at_end,
  };
}

/** Lines about what was cut, left out or split, for the terminal. */
export function dataNotes({ train, maxLength, evaluation }: TrainingData): string[] {
  const notes = statNotes('data', train, maxLength);
  return evaluation ? [...notes, ...statNotes('eval_data', evaluation.dataset, maxLength)] : notes;
}

function statNotes(name: string, { examples, stats }: Dataset, maxLength: number): string[] {
  const notes = [
    `${name}: ${examples.length} examples, ${stats.tokens} tokens, ${stats.trainedTokens} of them trained; the longest has ${stats.longest}`,
  ];
  if (stats.truncated > 0) {
    notes.push(
      `${name}: ${stats.truncated} of ${stats.records} examples are longer than max_length ${maxLength}: the end of their completion is cut`,
    );
  }
  if (stats.skipped > 0) {
    notes.push(
      `${name}: ${stats.skipped} of ${stats.records} examples are skipped: no trained token fits (${stats.skippedAt.join(', ')}${stats.skipped > stats.skippedAt.length ? ', …' : ''})`,
    );
  }
  if (stats.straddling > 0) {
    notes.push(
      `${name}: in ${stats.straddling} examples the prompt ends inside a token, which is trained whole (first: ${stats.firstStraddling}); end prompts without a space`,
    );
  }
  return notes;
}

/** The paths of every data file of a run. */
export function dataFiles({ data, eval_data = [] }: TrainingConfig): string[] {
  return [...data, ...eval_data].map((source: DataSource) => source.path);
}
