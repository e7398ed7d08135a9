import { readConfig } from '../checkpoint/checkpoint.js';
import { resolveModel } from '../checkpoint/hub.js';
import { LlmkitError } from '../errors.js';
import {
  type PreparedTask,
  prepareTask,
  scoreTask,
  type TaskResult,
  type TaskRun,
} from '../eval/harness.js';
import { type ResultsDocument, resultsDocument } from '../eval/results.js';
import { resultsTable } from '../eval/table.js';
import { decoderConfig } from '../model/families/index.js';
import { scoreRows } from '../model/score.js';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.js';
import { runFacts, taskConfigs } from './eval-facts.js';
import { findTaskFiles } from './eval-files.js';
import { DEFAULT_FEWSHOT_SEED, type EvalOptions } from './eval-options.js';
import { checkOutput, writeResults } from './eval-output.js';
import { type OpenModel, openModel } from './open-model.js';

/** What an evaluation returns. */
export interface EvalOutcome {
  /** lm-evaluation-harness's results document, as it is written to `results_<date>.json`. */
  readonly document: ResultsDocument;
  /** lm-evaluation-harness's table. */
  readonly table: string;
  readonly results: readonly TaskResult[];
  /** Files that were written. */
  readonly files: readonly string[];
}

/** Evaluates a model on tasks. */
export async function evaluate(options: EvalOptions): Promise<EvalOutcome> {
  const startMs = Date.now();
  if (options.out !== undefined) checkOutput(options.out);
  const runs = await findTaskFiles(options);
  const opened = await openModel(options);
  try {
    const { maxLength } = opened.model.config;
    const prepared = await prepareTasks(runs, options, { ...opened, maxLength });
    const results: TaskResult[] = [];
    for (const task of prepared) results.push(await score(task, options, opened));
    const facts = runFacts(options, { opened, results, times: { startMs, endMs: Date.now() } });
    const document = resultsDocument(results, taskConfigs(options, runs, opened), facts);
    const files = await writeResults(document, { options, runs, results, opened });
    return { document, table: resultsTable(results), results, files };
  } finally {
    opened.close();
  }
}

/** What an evaluation of one task would ask. */
export interface TaskPlan {
  readonly task: string;
  readonly data: string;
  readonly documents: number;
  readonly requests: number;
  readonly tokens: number;
  /** The first text that is asked; empty where the task asks no question. */
  readonly firstPrompt: string;
}

/** Reads and encodes the documents; loads no weights and scores nothing. */
export async function planEvaluation(options: EvalOptions): Promise<readonly TaskPlan[]> {
  const runs = await findTaskFiles(options);
  const folder = await resolveModel(options.model);
  const { maxLength } = decoderConfig(await readConfig(folder));
  const tokenizer = await loadTokenizer(folder);
  const prepared = await prepareTasks(runs, options, { tokenizer, maxLength });
  return prepared.map(({ name, documents }, i) => {
    const rows = documents.flatMap((document) => document.rows.flat());
    const first = documents[0]?.requests[0];
    return {
      task: name,
      data: runs[i]?.path ?? '',
      documents: documents.length,
      requests: rows.length,
      tokens: rows.reduce((sum, row) => sum + row.ids.length, 0),
      firstPrompt: first?.kind === 'continuation' ? first.context : '',
    };
  });
}

async function prepareTasks(
  runs: readonly TaskRun[],
  options: EvalOptions,
  { tokenizer, maxLength }: { tokenizer: Tokenizer; maxLength: number },
): Promise<readonly PreparedTask[]> {
  const contextLength = options.contextLength ?? maxLength;
  if (contextLength > maxLength) {
    throw new LlmkitError(
      'usage',
      `--context-length: expected at most ${maxLength}, the model's limit, got ${contextLength}`,
    );
  }
  if (options.applyChatTemplate && !tokenizer.chatTemplate) {
    throw new LlmkitError('usage', '--apply-chat-template: the model has no chat template');
  }
  const setup = {
    tokenizer,
    contextLength,
    numFewshot: options.numFewshot ?? 0,
    fewshotSeed: options.fewshotSeed ?? DEFAULT_FEWSHOT_SEED,
    limit: options.limit,
    chat: options.applyChatTemplate ? tokenizer.chatTemplate : undefined,
    options,
  };
  const prepared: PreparedTask[] = [];
  for (const run of runs) {
    const task = await prepareTask(run, setup);
    for (const text of doubts(task, run)) options.onWarning?.(text);
    prepared.push(task);
  }
  return prepared;
}

/** What makes a task's numbers differ from published ones. */
function doubts({ name, numFewshot, documents }: PreparedTask, run: TaskRun): readonly string[] {
  const texts: string[] = [];
  if (numFewshot > 0 && run.task.hub?.fewShot && run.fewShotPath === undefined) {
    texts.push(
      `${name}: few-shot examples come from the evaluated documents, not from the training split; give it with --fewshot-data ${name}=FILE`,
    );
  }
  const truncated = documents.reduce((sum, document) => sum + document.truncated, 0);
  if (truncated > 0) {
    const total = documents.reduce((sum, document) => sum + document.requests.length, 0);
    texts.push(
      `${name}: ${truncated} of ${total} prompts are longer than the context and lost their beginning`,
    );
  }
  return texts;
}

async function score(
  task: PreparedTask,
  { batchSize = 'auto', onProgress, signal }: EvalOptions,
  { model }: OpenModel,
): Promise<TaskResult> {
  const total = task.documents.reduce((sum, document) => sum + document.rows.flat().length, 0);
  let done = 0;
  return scoreTask(task, {
    score: (rows) => scoreRows(model, rows),
    batchSize,
    onRows(rows) {
      done += rows;
      onProgress?.(task.name, done, total);
    },
    ...(signal && { signal }),
  });
}
