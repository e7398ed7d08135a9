import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { writeFileAtomic } from '../checkpoint/output.js';
import { LlmkitError } from '../errors.js';
import { reportWriters } from '../report/index.js';
import type { LineChart, TableBlock } from '../report/report.js';
import type { ComputeChoice } from '../tensor/compute.js';

/** One command line of the tour. */
export interface QuickstartStep {
  /** What it is for, one line. */
  readonly title: string;
  /** The arguments after `llmkit`. */
  readonly args: readonly string[];
}

/** The tour: its command lines in order, and how to sum it up once they have run. */
export interface Quickstart {
  readonly steps: readonly QuickstartStep[];
  /** @param generated what the `generate --json` steps printed, in order */
  summarize(generated: readonly unknown[]): Promise<QuickstartSummary>;
}

export interface QuickstartSummary {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Path of the HTML report. */
  readonly report: string;
}

export interface QuickstartOptions {
  /** Folder the tour works in. */
  readonly output: string;
  readonly force: boolean;
  /** Fewer documents and steps: for the slow reference backend. */
  readonly reduced: boolean;
  readonly compute: ComputeChoice;
}

const QUESTION = 'Is this review positive, negative or neutral?';
const PROMPT_TEMPLATE = `<|user|>${QUESTION}\\n{text}<|assistant|>`;
const EXAMPLE = `${QUESTION}\nThe garden of the hotel looked splendid to us.`;
const STORY_START = 'One day Anna visited the';

/** The three models the tour compares, in the order it makes them. */
const MODELS = ['base', '4-bit', 'fine-tuned'] as const;

/**
 * Lays out the tour of the bundled model in a new folder.
 *
 * @throws LlmkitError `usage` when the folder exists and `force` is not set
 */
export async function prepareQuickstart(options: QuickstartOptions): Promise<Quickstart> {
  const { output } = options;
  if (existsSync(output) && !options.force) {
    throw new LlmkitError('usage', `quickstart: ${output} exists; --force replaces it`);
  }
  await rm(output, { recursive: true, force: true });
  await mkdir(output, { recursive: true });
  const files = bundledFiles();
  const config = join(output, 'sentiment.yaml');
  await writeFileAtomic(config, stringify(trainingConfig(files, options)));
  return {
    steps: steps(files, config, options).map((step) => computing(step, options.compute)),
    summarize: (generated) => summarize(files.model, output, generated),
  };
}

interface BundledFiles {
  readonly model: string;
  readonly text: string;
  readonly trainSet: string;
  readonly testSet: string;
  readonly endings: string;
}

/** Paths of the package's own files, as short as the current folder allows. */
function bundledFiles(): BundledFiles {
  const fixtures = join(packageRoot(), 'fixtures');
  const short = (...path: string[]) => {
    const full = join(fixtures, ...path);
    const near = relative('.', full);
    return near.startsWith('..') ? full : near;
  };
  return {
    model: short('models', 'tales-2m'),
    text: short('data', 'tales-heldout.txt'),
    trainSet: short('data', 'sentiment-train.jsonl'),
    testSet: short('data', 'sentiment-test.jsonl'),
    endings: short('data', 'endings.jsonl'),
  };
}

/** The nearest folder above this file with a package.json: from `src/` and from `dist/`. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

function trainingConfig(files: BundledFiles, { output, reduced }: QuickstartOptions): object {
  return {
    model: join(output, 'tales-nf4'),
    output_dir: join(output, 'sentiment-adapter'),
    method: 'lora',
    data: [{ path: files.trainSet }],
    lora: { r: 16, alpha: 32, target_modules: 'all-linear' },
    max_steps: reduced ? 30 : 300,
    batch_size: reduced ? 8 : 16,
    learning_rate: 1.5e-3,
    lr_scheduler: 'linear',
    warmup_steps: 10,
    max_length: 128,
    seed: 1,
  };
}

function steps(
  files: BundledFiles,
  config: string,
  { output, reduced }: QuickstartOptions,
): QuickstartStep[] {
  const quantized = join(output, 'tales-nf4');
  const adapter = join(output, 'sentiment-adapter');
  const merged = join(output, 'tales-sentiment');
  const evaluate = (title: string, model: string, name: string): QuickstartStep => ({
    title,
    args: [
      ...['eval', model, '--tasks', 'perplexity,hellaswag,classification'],
      ...['--data', `perplexity=${files.text}`, '--data', `hellaswag=${files.endings}`],
      ...['--data', `classification=${files.testSet}`],
      ...['--labels', 'positive,negative,neutral', '--prompt-template', PROMPT_TEMPLATE],
      ...(reduced ? ['--limit', '15', '--context-length', '96'] : []),
      ...['-o', join(output, 'eval', name)],
    ],
  });
  const tell = (title: string, model: string): QuickstartStep => ({
    title,
    args: ['generate', model, '--prompt', STORY_START, '--max-new-tokens', '48', '--json'],
  });
  return [
    {
      title: 'Quantize the bundled model to 4 bits',
      args: ['quantize', files.model, '--bits', '4', '-o', quantized],
    },
    evaluate('Evaluate the original', files.model, 'base'),
    evaluate('Evaluate the 4-bit model: how much was lost?', quantized, '4-bit'),
    { title: 'Fine-tune a QLoRA adapter on the 4-bit model', args: ['lora-train', config] },
    {
      title: 'Merge the adapter into the weights it was trained on',
      args: ['merge', quantized, '--adapter', adapter, '-o', merged],
    },
    evaluate('Evaluate the merged model', merged, 'fine-tuned'),
    tell('Generate with the original', files.model),
    tell('Generate with the 4-bit model', quantized),
    tell('Generate with the merged model', merged),
    {
      title: 'Ask the merged model about a review it has never seen',
      args: ['generate', merged, '--chat', '--prompt', EXAMPLE],
    },
  ];
}

/** Quantizing and merging always compute exactly. */
const COMPUTING: readonly string[] = ['eval', 'lora-train', 'generate'];

function computing({ title, args }: QuickstartStep, compute: ComputeChoice): QuickstartStep {
  const takes = compute !== 'auto' && COMPUTING.includes(args[0] ?? '');
  return { title, args: takes ? [...args, '--compute', compute] : args };
}

async function summarize(
  model: string,
  output: string,
  generated: readonly unknown[],
): Promise<QuickstartSummary> {
  const folders = [model, join(output, 'tales-nf4'), join(output, 'tales-sentiment')];
  const columns = ['Model', 'Size', 'Perplexity', 'Endings', 'Sentiment', 'Tokens/s'];
  const rows = MODELS.map((name, i) => [
    name,
    `${(weightBytes(folders[i] ?? '') / 1e6).toFixed(2)} MB`,
    ...scores(join(output, 'eval', name)),
    tokensPerSecond(generated[i]).toFixed(0),
  ]);
  const report = join(output, 'report.html');
  await writeReport(report, { columns, rows, output });
  return { columns, rows, report: resolve(report) };
}

function weightBytes(folder: string): number {
  const files = readdirSync(folder).filter((file) => file.endsWith('.safetensors'));
  return files.reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);
}

/** Perplexity, accuracy on the endings and on the reviews, from eval's results file. */
function scores(folder: string): string[] {
  const file = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((name) =>
    /results_.*\.json$/.test(name),
  );
  if (file === undefined) throw new LlmkitError('config', `quickstart: no results in ${folder}`);
  const { results } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
    results: Record<string, Record<string, number>>;
  };
  const percent = (value?: number) => `${(100 * (value ?? Number.NaN)).toFixed(1)} %`;
  return [
    (results.perplexity?.['perplexity,none'] ?? Number.NaN).toFixed(3),
    percent(results.hellaswag?.['acc,none']),
    percent(results.classification?.['acc,none']),
  ];
}

function tokensPerSecond(document: unknown): number {
  const { timings } = document as { timings: { decode_tokens_per_second: number } };
  return timings.decode_tokens_per_second;
}

async function writeReport(
  path: string,
  { columns, rows, output }: Omit<QuickstartSummary, 'report'> & { output: string },
): Promise<void> {
  const table: TableBlock = {
    kind: 'table',
    columns: columns.map((name, i) => ({ name, align: i === 0 ? 'left' : 'right' })),
    rows,
  };
  const text = reportWriters.html?.write({
    title: 'llmkit quickstart',
    subtitle: 'The bundled model, quantized to 4 bits, fine-tuned on reviews and merged',
    sections: [
      { heading: 'Before and after', blocks: [table] },
      { heading: 'Fine-tuning', blocks: [lossCurve(join(output, 'sentiment-adapter'))] },
    ],
  });
  await writeFileAtomic(path, text ?? '');
}

function lossCurve(folder: string): LineChart {
  const lines = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n');
  const points = lines
    .map((line) => JSON.parse(line) as { step: number; loss?: number })
    .flatMap(({ step, loss }) => (loss === undefined ? [] : [{ x: step, y: loss }]));
  return {
    kind: 'lines',
    title: 'Training loss',
    xLabel: 'step',
    yLabel: 'loss per trained token',
    series: [{ name: 'training', points }],
  };
}
