import { LlmkitError } from '../errors.js';
import type { RowScore, ScoreRow } from '../model/score.js';
import type { ChatTemplate } from '../tokenizer/tokenizer.js';
import { type BatchOptions, scoreInBatches } from './batching.js';
import { encodeRequest } from './encode.js';
import { FewShotSampler } from './few-shot.js';
import type { MetricValue } from './metrics.js';
import { buildPrompt } from './prompt.js';
import type { EvalDocument, Request, RequestScore, Task, TaskSetup } from './task.js';

/** A task and its files. */
export interface TaskRun {
  readonly name: string;
  readonly task: Task;
  readonly path: string;
  /** Few-shot examples are drawn from here; by default from `path`. */
  readonly fewShotPath?: string | undefined;
}

/** How documents become requests. */
export interface PrepareOptions extends TaskSetup {
  readonly numFewshot: number;
  readonly fewshotSeed: number;
  /** Documents of each task: a number, or a fraction below 1. */
  readonly limit?: number | undefined;
  /** Prompts are rendered as conversations by this template. */
  readonly chat?: ChatTemplate | undefined;
}

/** A document, ready to be scored. */
export interface PreparedDocument {
  readonly document: EvalDocument;
  readonly requests: readonly Request[];
  /** Per request its token rows. */
  readonly rows: readonly (readonly ScoreRow[])[];
  /** Requests whose context lost its beginning. */
  readonly truncated: number;
}

/** A task, ready to be scored. */
export interface PreparedTask {
  readonly name: string;
  readonly task: Task;
  readonly numFewshot: number;
  /** Documents of the file, before the limit. */
  readonly totalDocuments: number;
  readonly documents: readonly PreparedDocument[];
}

/** A document and what the model made of it. */
export interface Sample extends PreparedDocument {
  /** Per request the scores of its rows. */
  readonly rowScores: readonly (readonly RowScore[])[];
  readonly scores: readonly RequestScore[];
  readonly values: Readonly<Record<string, MetricValue>>;
}

/** A metric over all documents. */
export interface MetricResult {
  readonly value: number;
  /** Undefined where it has no closed form, or there is one document. */
  readonly standardError?: number | undefined;
}

/** A task's numbers, and the samples they were made from. */
export interface TaskResult {
  readonly name: string;
  readonly task: Task;
  readonly numFewshot: number;
  readonly totalDocuments: number;
  readonly metrics: Readonly<Record<string, MetricResult>>;
  readonly samples: readonly Sample[];
}

/** Reads a task's documents and encodes what will be asked; the model is not needed yet. */
export async function prepareTask(run: TaskRun, options: PrepareOptions): Promise<PreparedTask> {
  const { name, task, path, fewShotPath } = run;
  const all = await task.documents(path, options);
  const asksQuestions = all[0]?.turn !== undefined;
  const numFewshot = asksQuestions ? options.numFewshot : 0;
  const pool =
    numFewshot > 0 && fewShotPath !== undefined ? await task.documents(fewShotPath, options) : all;
  const sampler = new FewShotSampler(pool, options.fewshotSeed);
  const documents = all.slice(0, documentLimit(all.length, options.limit)).map((document, id) => {
    const prompt = buildPrompt(document, sampler.draw(numFewshot, document), options.chat);
    const requests = document.requests(prompt);
    const encode = { ...options, rendered: options.chat !== undefined };
    return naming(`${name} document ${id}`, () => {
      const encoded = requests.map((request) => encodeRequest(request, encode));
      const rows = encoded.map((request) => request.rows);
      const truncated = encoded.filter((request) => request.isTruncated).length;
      return { document, requests, rows, truncated };
    });
  });
  return { name, task, numFewshot, totalDocuments: all.length, documents };
}

function documentLimit(total: number, limit: number | undefined): number {
  if (limit === undefined) return total;
  return limit < 1 ? Math.ceil(total * limit) : Math.min(total, limit);
}

/** Adds the place to an error of `fn`. */
function naming<Value>(where: string, fn: () => Value): Value {
  try {
    return fn();
  } catch (error) {
    if (!(error instanceof LlmkitError)) throw error;
    throw new LlmkitError(error.code, `${where}: ${error.message}`, { cause: error });
  }
}

/** Scores a prepared task. */
export async function scoreTask(
  { name, task, numFewshot, totalDocuments, documents }: PreparedTask,
  batching: BatchOptions,
): Promise<TaskResult> {
  const rows = documents.flatMap((document) => document.rows.flat());
  const scored = (await scoreInBatches(rows, batching)).values();
  const samples = documents.map((document, id) => {
    const rowScores = document.rows.map((part) => part.map(() => scored.next().value as RowScore));
    const scores = rowScores.map((parts) => combine(parts, `${name} document ${id}`));
    return { ...document, rowScores, scores, values: document.document.measure(scores) };
  });
  const metrics = aggregate(task, samples);
  return { name, task, numFewshot, totalDocuments, metrics, samples };
}

function combine(parts: readonly RowScore[], where: string): RequestScore {
  let [logprob, tokens, greedy] = [0, 0, true];
  for (const part of parts) {
    for (const value of part.logprobs) logprob += value;
    tokens += part.logprobs.length;
    greedy &&= part.greedy.every(Boolean);
  }
  if (!Number.isNaN(logprob)) return { logprob, tokens, greedy };
  throw new LlmkitError(
    'checkpoint',
    `${where}: the model's log-probability is not a number; its weights are damaged or too large for float32`,
  );
}

function aggregate(task: Task, samples: readonly Sample[]): Readonly<Record<string, MetricResult>> {
  const results = Object.entries(task.metrics).map(([name, metric]) => {
    const values = samples.map((sample) => sample.values[name] as MetricValue);
    const standardError = values.length > 1 ? metric.standardError?.(values) : undefined;
    return [name, { value: metric.aggregate(values), standardError }];
  });
  return Object.fromEntries(results);
}
