import * as z from 'zod';
import { LlmkitError } from '../../errors.js';
import { didYouMean } from '../../suggest.js';
import { deviceMapFlags, deviceMapOf, deviceMapShape } from '../../workflows/device-map.js';
import { type ConfigOf, defineCommand, type ExitCode, type Io } from '../command.js';
import { showDownloads } from '../downloads.js';

const shape = {
  model: z.string(),
  tasks: z.array(z.string()).min(1),
  adapter: z.string().optional(),
  data: z.record(z.string(), z.string()).default({}),
  fewshot_data: z.record(z.string(), z.string()).default({}),
  num_fewshot: z.int().min(0).default(0),
  fewshot_seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(1234),
  limit: z.number().positive().optional(),
  batch_size: z.union([z.literal('auto'), z.int().min(1)]).default('auto'),
  context_length: z.int().min(2).optional(),
  stride: z.int().min(1).optional(),
  labels: z.array(z.string().min(1)).min(2).optional(),
  prompt_template: z.string().optional(),
  apply_chat_template: z.boolean().default(false),
  log_samples: z.boolean().default(false),
  output: z.string().optional(),
  cache_packed: z.boolean().default(false),
  ...deviceMapShape,
  min_acc: z.number().min(0).max(1).optional(),
  max_perplexity: z.number().positive().optional(),
  dry_run: z.boolean().default(false),
};

type EvalConfig = ConfigOf<typeof shape>;

/** `llmkit eval`: scores a model on tasks. */
export const evalCommand = defineCommand({
  name: 'eval',
  summary: 'Score a model on tasks as lm-evaluation-harness does',
  description:
    'Tasks: hellaswag, perplexity (a text file), multiple_choice ({question, choices[], label}) and ' +
    'classification ({text, label}). A task with a data set on the hub fetches it; others need --data.',
  arguments: [{ key: 'model', name: 'MODEL', description: 'folder or hub id', kind: 'model' }],
  shape,
  flags: {
    tasks: { value: 'A,B', description: 'tasks to score' },
    adapter: { value: 'DIR', description: 'PEFT folder put on the model' },
    data: { value: 'NAME=PATH', description: "a task's data: JSONL, parquet or text (repeatable)" },
    fewshot_data: { value: 'NAME=PATH', description: 'where few-shot examples are drawn from' },
    num_fewshot: { value: 'K', description: 'solved examples before each question' },
    fewshot_seed: { value: 'N', description: 'seed of their draw' },
    limit: { value: 'N', description: 'documents of each task: a number, or a fraction below 1' },
    batch_size: { value: 'N|auto', description: 'rows scored at once; changes no result' },
    context_length: { value: 'N', description: 'tokens the model sees at most' },
    stride: { value: 'N', description: 'tokens the perplexity window moves by' },
    labels: { value: 'A,B,C', description: 'labels of a classification' },
    prompt_template: {
      value: 'TEXT',
      description: 'how a document is asked: {field} is replaced, \\n is a new line',
    },
    apply_chat_template: { description: "ask as a user's turn of the model's chat template" },
    log_samples: { description: "write each document's prompt, tokens and log-probabilities" },
    output: { short: 'o', value: 'DIR', description: 'add results and reports below this folder' },
    min_acc: { value: 'X', description: 'exit with 3 when an accuracy is lower' },
    max_perplexity: { value: 'X', description: 'exit with 3 when the perplexity is higher' },
    cache_packed: { description: 'keep packed weights beside the model, for a quicker start' },
    ...deviceMapFlags,
    dry_run: { description: 'say what would be asked, load no weights' },
  },
  examples: [
    {
      command: 'llmkit eval MODEL --tasks hellaswag --limit 200 -o results',
      does: 'scores 200 documents of HellaSwag and writes a report',
    },
    {
      command: 'llmkit eval MODEL --tasks perplexity --data perplexity=book.txt',
      does: 'perplexity of a text',
    },
    {
      command:
        "llmkit eval MODEL --adapter DIR --tasks classification --data classification=test.jsonl --labels negative,positive --prompt-template '{text}\\nSentiment:'",
      does: 'accuracy of a fine-tuned classifier',
    },
  ],
  check(config, problem) {
    if (config.limit !== undefined && config.limit > 1 && !Number.isInteger(config.limit)) {
      problem('limit', `expected a whole number or a fraction below 1, got ${config.limit}`);
    }
    if (config.log_samples && config.output === undefined) {
      problem('log_samples', 'writes files: say where with --output');
    }
  },
  async run(config, io) {
    await checkTasks(config);
    return config.dry_run ? plan(config, io) : runEvaluation(config, io);
  },
});

async function checkTasks(config: EvalConfig): Promise<void> {
  const { tasks: names, data, fewshot_data: examples } = config;
  const { tasks } = await import('../../eval/tasks/index.js');
  const known = Object.keys(tasks);
  for (const name of names) {
    if (known.includes(name)) continue;
    throw new LlmkitError(
      'usage',
      `--tasks: unknown task '${name}', the tasks are ${known.join(', ')}${didYouMean(name, known)}`,
    );
  }
  const given = [data, examples].flatMap((files) => Object.keys(files));
  for (const name of given) {
    if (names.includes(name)) continue;
    throw new LlmkitError(
      'usage',
      `${data[name] === undefined ? '--fewshot-data' : '--data'}: '${name}' is no task of --tasks ${names.join(',')}${didYouMean(name, names)}`,
    );
  }
  checkGates(config, new Set(names.flatMap((name) => Object.keys(tasks[name]?.metrics ?? {}))));
}

/** A gate on a number that no task has would pass whatever the model does. */
function checkGates(
  { tasks, min_acc: minAcc, max_perplexity: maxPerplexity }: EvalConfig,
  metrics: ReadonlySet<string>,
): void {
  const gates = [
    { flag: '--min-acc', limit: minAcc, metric: 'acc' },
    { flag: '--max-perplexity', limit: maxPerplexity, metric: 'perplexity' },
  ];
  for (const { flag, limit, metric } of gates) {
    if (limit === undefined || metrics.has(metric)) continue;
    const got = [...metrics].join(', ');
    throw new LlmkitError(
      'usage',
      `${flag}: expected a task that has ${metric}, got ${tasks.join(',')} with ${got}; leave ${flag} out or add such a task`,
    );
  }
}

/** The workflow's options of a configuration. */
function optionsOf(config: EvalConfig) {
  return {
    model: config.model,
    adapter: config.adapter,
    backend: config.backend,
    device: config.device,
    threads: config.threads,
    compute: config.compute,
    cachePacked: config.cache_packed,
    tasks: config.tasks,
    data: config.data,
    fewshotData: config.fewshot_data,
    numFewshot: config.num_fewshot,
    fewshotSeed: config.fewshot_seed,
    limit: config.limit,
    batchSize: config.batch_size,
    contextLength: config.context_length,
    stride: config.stride,
    labels: config.labels,
    promptTemplate: config.prompt_template,
    applyChatTemplate: config.apply_chat_template,
    logSamples: config.log_samples,
    out: config.output,
    config,
  };
}

async function plan(config: EvalConfig, io: Io): Promise<ExitCode> {
  const { planEvaluation } = await import('../../workflows/eval.js');
  const tasks = await planEvaluation(optionsOf(config));
  if (io.json) io.printJson({ tasks });
  for (const { task, data, documents, requests, tokens, firstPrompt } of io.json ? [] : tasks) {
    io.stdout(`${task}: ${documents} documents, ${requests} rows, ${tokens} tokens from ${data}\n`);
    if (firstPrompt) io.stdout(`${firstPrompt.replace(/^/gm, '  | ')}\n`);
  }
  return 0;
}

async function runEvaluation(config: EvalConfig, io: Io): Promise<ExitCode> {
  const { evaluate } = await import('../../workflows/eval.js');
  const progress = taskProgress(io);
  const outcome = await evaluate({
    ...optionsOf(config),
    ...deviceMapOf(config, io.note),
    onProgress: progress.update,
    onWarning: (text) => io.warn(text),
    onDownload: showDownloads(io),
    signal: io.signal,
  }).finally(progress.end);
  if (io.json) io.printJson(outcome.document);
  else io.stdout(`${heading(config, outcome.document)}\n${outcome.table}\n`);
  for (const file of outcome.files) io.note(`wrote ${file}`);
  return gate(config, io, outcome.results);
}

/** One bar per task. */
function taskProgress(io: Io) {
  let task: string | undefined;
  let bar: ReturnType<Io['progress']> | undefined;
  return {
    update(name: string, done: number, total: number) {
      if (name !== task) {
        bar?.end();
        bar = io.progress(name, total, 'rows');
        task = name;
      }
      bar?.update(done);
    },
    end: () => bar?.end(),
  };
}

function heading(
  config: EvalConfig,
  { backend, compute }: { readonly [key: string]: unknown },
): string {
  const adapter = config.adapter === undefined ? '' : `, adapter: ${config.adapter}`;
  return `llmkit (${config.model}${adapter}), ${backend}, compute: ${compute}, limit: ${config.limit ?? 'none'}, num_fewshot: ${config.num_fewshot}, batch_size: ${config.batch_size}`;
}

type Metrics = Readonly<Record<string, { readonly value: number }>>;

/** @returns 3 when a number is on the wrong side of its limit */
function gate(
  { min_acc: minAcc, max_perplexity: maxPerplexity }: EvalConfig,
  io: Io,
  results: readonly { readonly name: string; readonly metrics: Metrics }[],
): ExitCode {
  let code: ExitCode = 0;
  for (const { name, metrics } of results) {
    const { acc, perplexity } = metrics;
    if (acc && minAcc !== undefined && acc.value < minAcc) {
      io.warn(`${name}: acc ${acc.value.toFixed(4)} is below --min-acc ${minAcc}`);
      code = 3;
    }
    if (perplexity && maxPerplexity !== undefined && perplexity.value > maxPerplexity) {
      io.warn(
        `${name}: perplexity ${perplexity.value.toFixed(4)} is above --max-perplexity ${maxPerplexity}`,
      );
      code = 3;
    }
  }
  return code;
}
