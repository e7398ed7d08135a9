import type { Sample, TaskResult } from '../eval/harness.js';
import type { ResultsDocument } from '../eval/results.js';
import type { Bar, Block, Column, Report, Section } from '../report/report.js';
import { formatNumber } from '../report/scale.js';

/** Documents of each task that the report shows. */
const SHOWN_DOCUMENTS = 3;
/** Characters of a prompt that it shows: the last ones. */
const SHOWN_CHARACTERS = 2000;
const RESULT_COLUMNS: readonly Column[] = [
  { name: 'Task' },
  { name: 'Metric' },
  { name: 'Value', align: 'right' },
  { name: '± Stderr', align: 'right' },
  { name: 'Better' },
  { name: 'n-shot', align: 'right' },
  { name: 'Documents', align: 'right' },
];
const ANSWER_COLUMNS: readonly Column[] = [
  { name: 'Answer' },
  { name: 'log p', align: 'right' },
  { name: 'per token', align: 'right' },
  { name: '' },
];

/** What an evaluation found, for people. */
export function evalReport(document: ResultsDocument, results: readonly TaskResult[]): Report {
  const date = new Date(Number(document.date) * 1000);
  return {
    title: `Evaluation of ${String(document.model_name)}`,
    subtitle: `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC · llmkit ${String(document.llmkit_version)} · ${String(document.backend)} · compute ${String(document.compute)}`,
    sections: [
      { heading: 'Results', blocks: [resultTable(results), ...accuracyChart(results)] },
      ...results.map(taskSection),
      { heading: 'How it was run', blocks: [factTable(document)] },
    ],
  };
}

function resultTable(results: readonly TaskResult[]): Block {
  return {
    kind: 'table',
    columns: RESULT_COLUMNS,
    rows: results.flatMap(({ name, task, metrics, numFewshot, samples }) =>
      Object.entries(metrics).map(([metric, { value, standardError }]) => [
        name,
        metric,
        value.toFixed(4),
        standardError?.toFixed(4) ?? '',
        task.metrics[metric]?.higherIsBetter ? 'higher ↑' : 'lower ↓',
        String(numFewshot),
        String(samples.length),
      ]),
    ),
  };
}

/** Metrics between 0 and 1 that have an error: accuracies. */
function accuracyChart(results: readonly TaskResult[]): readonly Block[] {
  const bars: Bar[] = results.flatMap(({ name, metrics }) =>
    Object.entries(metrics).flatMap(([metric, { value, standardError }]) =>
      standardError === undefined
        ? []
        : [{ label: `${name} ${metric}`, value, error: standardError }],
    ),
  );
  if (bars.length === 0) return [];
  return [
    {
      kind: 'bars',
      title: 'Accuracy',
      xLabel: 'share of documents answered right, ± one standard error',
      bars,
      max: 1,
    },
  ];
}

function taskSection({ name, task, samples }: TaskResult): Section {
  const asks = samples[0]?.document.turn !== undefined;
  const blocks: Block[] = [{ kind: 'text', text: `${task.summary}.` }];
  if (asks) blocks.push(...samples.slice(0, SHOWN_DOCUMENTS).flatMap(documentBlocks));
  else blocks.push(lossChart(samples));
  return { heading: name, blocks };
}

/** A prompt and what the model made of each answer. */
function documentBlocks(sample: Sample, id: number): readonly Block[] {
  const { document, requests, scores } = sample;
  const continuations = requests.flatMap((request) =>
    request.kind === 'continuation' ? [request] : [],
  );
  const best = scores.reduce(
    (most, score, i) => (score.logprob > (scores[most]?.logprob ?? -Infinity) ? i : most),
    0,
  );
  const marks = (i: number) =>
    [i === document.target ? 'right' : '', i === best ? 'chosen' : ''].filter(Boolean).join(', ');
  return [
    { kind: 'text', text: `Document ${id}` },
    { kind: 'code', text: ending(continuations[0]?.context ?? '') },
    {
      kind: 'table',
      columns: ANSWER_COLUMNS,
      rows: continuations.map(({ continuation }, i) => {
        const { logprob, tokens } = scores[i] as (typeof scores)[number];
        return [continuation.trim(), logprob.toFixed(3), (logprob / tokens).toFixed(3), marks(i)];
      }),
    },
  ];
}

function ending(text: string): string {
  const characters = [...text];
  if (characters.length <= SHOWN_CHARACTERS) return text;
  return `… ${characters.slice(-SHOWN_CHARACTERS).join('')}`;
}

function lossChart(samples: readonly Sample[]): Block {
  return {
    kind: 'lines',
    title: 'Mean loss along the text',
    xLabel: 'window',
    yLabel: '-log p per token',
    series: [
      {
        name: 'loss',
        points: samples.map(({ scores }, x) => {
          const logprob = scores.reduce((sum, score) => sum + score.logprob, 0);
          const tokens = scores.reduce((sum, score) => sum + score.tokens, 0);
          return { x: x + 1, y: -logprob / tokens };
        }),
      },
    ],
  };
}

function factTable(document: ResultsDocument): Block {
  const config = document.config as Record<string, unknown>;
  const args = config.model_args as Record<string, string>;
  const configs = Object.values(document.configs as Record<string, Record<string, unknown>>);
  const data = configs.map(({ task, dataset_path: path }): [string, unknown] => [
    `Data of ${task}`,
    path,
  ]);
  const facts: [string, unknown][] = [
    ['Model', args.pretrained],
    ['Adapter', args.peft],
    ['Parameters', formatNumber(Number(config.model_num_parameters))],
    ['Backend', document.backend],
    ...data,
    ['Context length', document.max_length],
    ['Batch size', config.batch_size],
    ['Limit', config.limit],
    ['Few-shot seed', config.fewshot_seed],
    ['Chat template', document.chat_template_sha],
    ['Seconds', Number(document.total_evaluation_time_seconds).toFixed(1)],
    ['Machine', document.pretty_env_info],
  ];
  return {
    kind: 'table',
    columns: [{ name: 'What' }, { name: 'Value' }],
    rows: facts.flatMap(([what, value]) =>
      value === undefined || value === null ? [] : [[what, String(value)]],
    ),
  };
}
