import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Scorer } from '../../../src/eval/batching.js';
import { prepareTask, type Sample, scoreTask, type TaskResult } from '../../../src/eval/harness.js';
import { type SampleRow, sampleRows } from '../../../src/eval/sample-row.js';
import type { TaskOptions } from '../../../src/eval/task.js';
import { tasks } from '../../../src/eval/tasks/index.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { loadModel } from '../../../src/model/load.js';
import { scoreRows } from '../../../src/model/score.js';
import { loadTokenizer, type Tokenizer } from '../../../src/tokenizer/tokenizer.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { sharedData } from '../../helpers/shared-data.js';

type Hashes = Pick<SampleRow, 'doc_hash' | 'prompt_hash' | 'target_hash'>;

/** What lm-evaluation-harness said of a document. */
interface GoldenSample extends Hashes {
  readonly doc_id: number;
  readonly arguments: readonly (readonly [string, string])[];
  readonly filtered_resps: readonly (readonly [number, boolean])[];
  readonly acc: number;
  readonly acc_norm: number;
}

interface GoldenTask {
  readonly num_fewshot: number;
  readonly results: Readonly<Record<string, number | string>>;
  readonly samples: readonly GoldenSample[];
}

const golden: { readonly tasks: Readonly<Record<string, GoldenTask>> } = JSON.parse(
  readFileSync('fixtures/tasks/lm-eval.json', 'utf8'),
);
const STORIES = sharedData('stories260k-hf');
const LABELS: TaskOptions = { labels: ['sad', 'happy'] };

/** How our tasks ask what lm-evaluation-harness was asked. */
const RUNS = [
  { name: 'stories', task: 'hellaswag', path: 'stories.jsonl', options: {} },
  {
    name: 'stories_train',
    task: 'hellaswag',
    path: 'stories.jsonl',
    shots: 'train.jsonl',
    options: {},
  },
  { name: 'reviews', task: 'classification', path: 'reviews.jsonl', options: LABELS },
  {
    name: 'reviews_shots',
    task: 'classification',
    path: 'reviews.jsonl',
    options: { ...LABELS, promptTemplate: 'Text: {text}\\nMood:' },
  },
] as const;

let checkpoint: Checkpoint;
let tokenizer: Tokenizer;
let model: Decoder;

async function run(
  {
    task: name,
    path,
    shots,
    options,
  }: { task: string; path: string; shots?: string; options: TaskOptions },
  settings: { numFewshot: number; score?: Scorer },
): Promise<TaskResult> {
  const task = tasks[name];
  if (!task) throw new Error(name);
  const prepared = await prepareTask(
    { name, task, path, fewShotPath: shots },
    { tokenizer, contextLength: 512, fewshotSeed: 1234, options, ...settings },
  );
  const score = settings.score ?? ((rows) => scoreRows(model, rows));
  return scoreTask(prepared, { score, batchSize: 'auto' });
}

const askedOf = ({ requests }: Sample) =>
  requests.map((request) =>
    request.kind === 'continuation' ? [request.context, request.continuation] : [],
  );

describe.skipIf(!STORIES).each(testedBackends)('on %s, stories260k-hf', (backend) => {
  beforeAll(async () => {
    await useTestBackend(backend);
    checkpoint = await openCheckpoint(STORIES as string);
    tokenizer = await loadTokenizer(STORIES as string);
    model = await loadModel(checkpoint);
  });
  afterAll(() => {
    model?.dispose();
    checkpoint?.close();
  });

  // The reference backend takes seconds for one long document.
  test.each(RUNS.filter(({ name }) => backend !== 'reference' || name === 'reviews'))(
    '$name: prompts, log-likelihoods and metrics are those of lm-evaluation-harness',
    async (setup) => {
      const expected = golden.tasks[setup.name] as GoldenTask;
      const fixture = (name: string) => join('fixtures', 'tasks', name);
      const result = await run(
        {
          ...setup,
          path: fixture(setup.path),
          ...('shots' in setup && { shots: fixture(setup.shots) }),
        },
        { numFewshot: expected.num_fewshot },
      );
      for (const [id, ours] of result.samples.entries()) {
        const sample = expected.samples[id] as GoldenSample;
        expect(askedOf(ours)).toEqual(sample.arguments);
        sample.filtered_resps.forEach(([logprob, greedy], i) => {
          expect(ours.scores[i]?.logprob).toBeCloseTo(logprob, 3);
          expect(ours.scores[i]?.greedy).toBe(greedy);
        });
        expect(ours.values.acc).toBe(sample.acc);
      }
      for (const [name, { value, standardError }] of Object.entries(result.metrics)) {
        expect(value).toBeCloseTo(Number(expected.results[`${name},none`]), 12);
        expect(standardError).toBeCloseTo(Number(expected.results[`${name}_stderr,none`]), 12);
      }
    },
  );
});

test('log rows carry the hashes of lm-evaluation-harness', async () => {
  const { num_fewshot: numFewshot, samples } = golden.tasks.stories as GoldenTask;
  tokenizer = await loadTokenizer(join('fixtures', 'models', 'tales-2m'));
  const path = join('fixtures', 'tasks', 'stories.jsonl');
  const result = await run({ task: 'hellaswag', path, options: {} }, { numFewshot, score: even });
  const hashes = (row: Hashes) => [row.doc_hash, row.prompt_hash, row.target_hash];
  expect([...sampleRows(result, tokenizer)].map(hashes)).toEqual(samples.map(hashes));
});

/** Every token has probability 1/e. */
const even: Scorer = async (rows) =>
  rows.map(({ ids, from }) => {
    const count = ids.length - from;
    return { logprobs: new Float64Array(count).fill(-1), greedy: new Array(count).fill(false) };
  });
