import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFolder } from '../../checkpoint/output.js';
import { LlmkitError } from '../../errors.js';
import { reportWriters } from '../../report/index.js';
import type { Report, Series } from '../../report/report.js';
import { checkpointSteps } from '../../tune/checkpointing.js';
import type { EvaluationReport, StepReport } from '../../tune/loop.js';
import { type MetricsLine, MetricsLog, readMetrics } from '../../tune/metrics.js';
import { EventWriter } from '../../tune/tensorboard.js';

const METRICS_FILE = 'metrics.jsonl';
const REPORT_FILE = 'report.html';
const EVENTS_FOLDER = 'tensorboard';

/** What a run writes into its folder, to be removed when another starts there anew. */
const OWN_FILES =
  /^(checkpoint-\d+|metrics\.jsonl|report\.html|tensorboard|llmkit\.json|adapter_(config\.json|model\.safetensors)|model(-.*)?\.safetensors(\.index\.json)?|config\.json)$/;
/** What a killed run can leave behind. */
const LEFTOVERS = /^\.(checkpoint-\d+|\.result)\.[0-9a-f]+\.(tmp|old)$|^\.result$/;
/** Files that tell that llmkit wrote a folder. */
const SIGNS = ['llmkit.json', METRICS_FILE];

export interface OutputOptions {
  readonly resume: boolean;
  readonly force: boolean;
}

/**
 * The step a run in this folder starts at: 0, or that of the newest checkpoint. Writes nothing.
 *
 * @throws LlmkitError `usage` when the folder holds something and neither option is set
 */
export async function startingStep(
  folder: string,
  { resume, force }: OutputOptions,
): Promise<number> {
  if (resume) return (await checkpointSteps(folder)).at(-1) ?? 0;
  const entries = await entriesOf(folder);
  if (entries.length === 0) return 0;
  if (force && SIGNS.some((name) => entries.includes(name))) return 0;
  if (force) {
    throw new LlmkitError(
      'usage',
      `output_dir ${folder}: no run of llmkit wrote this folder, so --force does not clear it; choose another`,
    );
  }
  throw new LlmkitError(
    'usage',
    `output_dir ${folder}: exists already; --resume goes on from its newest checkpoint, --force starts anew`,
  );
}

/** Readies the folder: removes what an earlier run left that this one does not go on from. */
export async function prepareOutput(folder: string, isNew: boolean): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of await entriesOf(folder)) {
    if (LEFTOVERS.test(name) || (isNew && OWN_FILES.test(name))) {
      await rm(join(folder, name), { recursive: true });
    }
  }
}

/**
 * Puts the files that `fill` writes into the folder once they are all there; the weights last, so
 * that a folder with weights is a finished one.
 */
export async function publishResult(
  folder: string,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  const temporary = join(folder, '.result');
  await rm(temporary, { recursive: true, force: true });
  await writeFolder(temporary, {}, fill);
  const isWeights = (name: string) => (name.endsWith('.safetensors') ? 1 : 0);
  const names = (await readdir(temporary)).sort((a, b) => isWeights(a) - isWeights(b));
  for (const name of names) await rename(join(temporary, name), join(folder, name));
  await rm(temporary, { recursive: true });
}

async function entriesOf(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}

/** The logs of a run: metrics.jsonl and TensorBoard's events. */
export class RunLog {
  private readonly metrics: MetricsLog;
  private readonly events: EventWriter;

  constructor(folder: string, startStep: number) {
    this.metrics = new MetricsLog(join(folder, METRICS_FILE), startStep);
    this.events = new EventWriter(join(folder, EVENTS_FOLDER), startStep + 1);
  }

  step(report: StepReport): void {
    const { step, loss, learningRate: lr, gradNorm: grad_norm } = report;
    this.metrics.write({
      step,
      epoch: rounded(report.epoch),
      loss,
      lr,
      grad_norm,
      trained_tokens: report.trainedTokens,
      seconds: rounded(report.seconds),
    });
    this.events.scalars(step, { 'train/loss': loss, 'train/lr': lr, 'train/grad_norm': grad_norm });
  }

  evaluation({ step, loss, trainedTokens }: EvaluationReport): void {
    this.metrics.write({ step, eval_loss: loss, eval_tokens: trainedTokens });
    this.events.scalars(step, { 'eval/loss': loss });
  }

  flush(): void {
    this.metrics.flush();
  }

  close(): void {
    this.metrics.close();
    this.events.close();
  }
}

function rounded(value: number): number {
  return Number(value.toFixed(4));
}

/** The training loss of the last step in a folder's metrics. */
export function lastLoss(folder: string): number | undefined {
  const lines = readMetrics(join(folder, METRICS_FILE));
  return lines.flatMap((line) => ('loss' in line ? [line.loss] : [])).at(-1);
}

/** Writes the report of a run with its loss curve, from the metrics in the folder. */
export async function writeRunReport(
  folder: string,
  { title, facts }: { title: string; facts: readonly (readonly [string, string])[] },
): Promise<void> {
  const lines = readMetrics(join(folder, METRICS_FILE));
  const report: Report = {
    title,
    sections: [
      {
        heading: 'Loss',
        blocks: [
          {
            kind: 'lines',
            title: 'Loss by optimizer step',
            xLabel: 'step',
            yLabel: 'loss',
            series: lossSeries(lines),
          },
        ],
      },
      { heading: 'Learning rate', blocks: [learningRateChart(lines)] },
      {
        heading: 'Run',
        blocks: [
          {
            kind: 'table',
            columns: [{ name: '' }, { name: '' }],
            rows: facts.map(([name, value]) => [name, value]),
          },
        ],
      },
    ],
  };
  const { html } = reportWriters;
  if (html) await writeFile(join(folder, REPORT_FILE), html.write(report));
}

function lossSeries(lines: readonly MetricsLine[]): Series[] {
  const training = lines.flatMap((line) =>
    'loss' in line ? [{ x: line.step, y: line.loss }] : [],
  );
  const evaluation = lines.flatMap((line) =>
    'eval_loss' in line ? [{ x: line.step, y: line.eval_loss }] : [],
  );
  const series = [{ name: 'training', points: training }];
  return evaluation.length > 0 ? [...series, { name: 'evaluation', points: evaluation }] : series;
}

function learningRateChart(lines: readonly MetricsLine[]) {
  const points = lines.flatMap((line) => ('lr' in line ? [{ x: line.step, y: line.lr }] : []));
  return {
    kind: 'lines' as const,
    title: 'Learning rate by optimizer step',
    xLabel: 'step',
    yLabel: 'learning rate',
    series: [{ name: 'learning rate', points }],
  };
}
