import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { scoreInBatches } from '../../../src/eval/batching.js';
import { prepareTask, scoreTask } from '../../../src/eval/harness.js';
import { mean } from '../../../src/eval/metrics.js';
import { buildPrompt } from '../../../src/eval/prompt.js';
import { resultsDocument } from '../../../src/eval/results.js';
import { resultsTable } from '../../../src/eval/table.js';
import type { EvalDocument } from '../../../src/eval/task.js';
import { tasks } from '../../../src/eval/tasks/index.js';
import { initModel } from '../../../src/model/load.js';
import { type RowScore, type ScoreRow, scoreRows } from '../../../src/model/score.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { expectClose } from '../../helpers/expect-close.js';
import { byteTokenizer } from './byte-tokenizer.js';

const folder = mkdtempSync(join(tmpdir(), 'llmkit-harness-'));
afterAll(() => rmSync(folder, { recursive: true }));

const questions = join(folder, 'questions.jsonl');
const choices = ['yes', 'no', 'perhaps it is so'];
writeFileSync(
  questions,
  Array.from({ length: 7 }, (_, i) =>
    JSON.stringify({ question: `Is ${'very '.repeat(i)}${i}?`, choices, label: i % 3 }),
  ).join('\n'),
);

const options = {
  tokenizer: byteTokenizer(),
  contextLength: 64,
  numFewshot: 1,
  fewshotSeed: 1234,
  options: {},
};

function prepare(name = 'multiple_choice', path = questions, changes = {}) {
  const task = tasks[name];
  if (!task) throw new Error(name);
  return prepareTask({ name, task, path }, { ...options, ...changes });
}

/** A log-probability that tells rows apart. */
const byLength = async (rows: readonly ScoreRow[]) =>
  rows.map(({ ids, from }) => ({
    logprobs: new Float64Array(ids.length - from).fill(-1 - ids.length / 1000),
    greedy: new Array<boolean>(ids.length - from).fill(true),
  }));

/** Scores of another batch size: of the same bits, which TensorFlow alone does not promise. */
function expectSameScores(
  backend: string,
  scores: readonly (readonly (readonly RowScore[])[])[],
  alone: typeof scores,
) {
  if (backend !== 'tensorflow') return expect(scores).toEqual(alone);
  const logprobs = (of: typeof scores) => of.flat(2).flatMap((row) => [...row.logprobs]);
  expectClose(logprobs(scores), logprobs(alone));
}

describe.each(testedBackends)('on %s', (backend) => {
  test('the batch size changes no bit', async () => {
    await useTestBackend(backend);
    const model = initModel(
      {
        model_type: 'llama',
        vocab_size: 258,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
      },
      3,
    );
    const prepared = await prepare('multiple_choice', questions, { limit: 3 });
    const score = (rows: readonly ScoreRow[]) => scoreRows(model, rows);
    const scores = async (batchSize: number | 'auto') =>
      (await scoreTask(prepared, { score, batchSize })).samples.map(({ rowScores }) => rowScores);
    const alone = await scores(1);
    expect(alone.flat(2).every(({ logprobs }) => logprobs.every((p) => p < 0))).toBe(true);
    for (const size of [2, 5, 'auto'] as const) {
      expectSameScores(backend, await scores(size), alone);
    }
    model.dispose();
  });
});

test('batches are cut by size, longest rows first, and scores come back in order', async () => {
  const rows = [3, 9, 5, 7].map((length) => ({ ids: new Array<number>(length).fill(1), from: 1 }));
  const seen: number[][] = [];
  const scores = await scoreInBatches(rows, {
    batchSize: 3,
    score: (batch) => {
      seen.push(batch.map(({ ids }) => ids.length));
      return byLength(batch);
    },
  });
  expect(seen).toEqual([[9, 7, 5], [3]]);
  expect(scores.map(({ logprobs }) => logprobs.length)).toEqual([2, 8, 4, 6]);
});

test('auto batches stay within their tokens; a signal stops between batches', async () => {
  const rows = Array.from({ length: 9 }, () => ({ ids: new Array<number>(500).fill(1), from: 1 }));
  const sizes: number[] = [];
  const controller = new AbortController();
  const run = scoreInBatches(rows, {
    batchSize: 'auto',
    score: byLength,
    signal: controller.signal,
    onRows(count) {
      sizes.push(count);
      if (sizes.length === 2) controller.abort(new Error('stop'));
    },
  });
  await expect(run).rejects.toThrow('stop');
  expect(sizes).toEqual([2, 2]);
});

describe('limit', () => {
  test.each([
    [undefined, 7],
    [3, 3],
    [50, 7],
    [0.5, 4],
  ])('%s takes %d documents', async (limit, count) => {
    const prepared = await prepare('multiple_choice', questions, { limit });
    expect(prepared.documents.length).toBe(count);
    expect(prepared.totalDocuments).toBe(7);
  });
});

describe('few-shot examples', () => {
  test('never are the document itself, and documents differ in them', async () => {
    const { documents } = await prepare('multiple_choice', questions, { numFewshot: 3 });
    const contexts = documents.map(({ document, requests }) => {
      const context = requests[0]?.kind === 'continuation' ? requests[0].context : '';
      const question = document.turn?.question ?? '';
      expect(context.split(question).length - 1).toBe(1);
      expect(context.split('\n\n').length).toBe(4);
      return context.slice(0, 20);
    });
    expect(new Set(contexts).size).toBeGreaterThan(1);
  });

  test('more than there are is an error', async () => {
    await expect(prepare('multiple_choice', questions, { numFewshot: 7 })).rejects.toThrow(
      /at least 8 documents to draw from, got 7; lower --num-fewshot/,
    );
  });

  test('become turns of a conversation under a chat template', () => {
    const document = (question: string, answer: string): EvalDocument => ({
      fields: {},
      target: 0,
      turn: { question, answer },
      requests: () => [],
      measure: () => ({}),
    });
    const chat = {
      source: '',
      hash: '',
      render: (
        messages: readonly { role: string; content: string }[],
        { addGenerationPrompt = false },
      ) =>
        `${messages.map(({ role, content }) => `<${role}>${content}`).join('')}${addGenerationPrompt ? '<assistant>' : ''}`,
    };
    const shots = [document('q1', 'a1')];
    expect(buildPrompt(document('q2', 'a2'), shots, chat)).toEqual({
      context: '<user>q1<assistant>a1<user>q2<assistant>',
      delimiter: '',
    });
    expect(buildPrompt(document('q2', 'a2'), shots)).toEqual({
      context: 'q1 a1\n\nq2',
      delimiter: ' ',
    });
  });
});

test('a document that cannot be encoded is named', async () => {
  await expect(prepare('multiple_choice', questions, { contextLength: 5 })).rejects.toThrow(
    /multiple_choice document 0: the answer " perhaps it is so" has 17 tokens; expected 1 to 5/,
  );
});

test('a log-probability that is not a number stops the run and names the document', async () => {
  const score = async (rows: readonly ScoreRow[]) =>
    rows.map(({ ids, from }) => ({
      logprobs: new Float64Array(ids.length - from).fill(Number.NaN),
      greedy: [],
    }));
  const prepared = await prepare();
  await expect(scoreTask(prepared, { score, batchSize: 4 })).rejects.toThrow(
    /multiple_choice document 0: the model's log-probability is not a number/,
  );
});

test('the error of a mean is the sample deviation / √n', () => {
  expect(mean.aggregate([1, 0, 0, 1, 1])).toBe(0.6);
  expect(mean.standardError?.([1, 0, 0, 1, 1])).toBeCloseTo(Math.sqrt((0.6 * 0.4) / 4), 15);
});

describe('results', () => {
  const text = join(folder, 'text.txt');
  writeFileSync(text, 'some words to be predicted. '.repeat(9));
  const results = async () => {
    const prepared = [await prepare(), await prepare('perplexity', text)];
    return Promise.all(
      prepared.map((task) => scoreTask(task, { score: byLength, batchSize: 'auto' })),
    );
  };

  test('have the layout of lm-evaluation-harness', async () => {
    const document = resultsDocument(await results(), {}, { date: 1 });
    expect(document).toMatchObject({
      results: {
        multiple_choice: {
          alias: 'multiple_choice',
          sample_len: 7,
          'acc,none': expect.any(Number),
          'acc_stderr,none': expect.any(Number),
          'acc_norm,none': expect.any(Number),
        },
        perplexity: { 'perplexity,none': expect.any(Number), 'perplexity_stderr,none': 'N/A' },
      },
      'n-shot': { multiple_choice: 1, perplexity: 0 },
      versions: { multiple_choice: 1, perplexity: 1 },
      higher_is_better: { multiple_choice: { acc: true }, perplexity: { perplexity: false } },
      'n-samples': { multiple_choice: { original: 7, effective: 7 } },
      date: 1,
    });
  });

  test('are printed as its table', async () => {
    const [choice, perplexity] = await results();
    if (!choice || !perplexity) throw new Error('no results');
    const named = {
      ...choice,
      name: 'hellaswag',
      numFewshot: 0,
      metrics: {
        acc_norm: { value: 0.26, standardError: 0.04408 },
        acc: { value: 0.31, standardError: 0.04648 },
      },
    };
    expect(resultsTable([named])).toBe(
      [
        '|  Tasks  |Version|Filter|n-shot| Metric |   |Value |   |Stderr|',
        '|---------|------:|------|-----:|--------|---|-----:|---|-----:|',
        '|hellaswag|      1|none  |     0|acc     |↑  |0.3100|±  |0.0465|',
        '|         |       |none  |     0|acc_norm|↑  |0.2600|±  |0.0441|',
      ].join('\n'),
    );
    const wiki = {
      ...perplexity,
      name: 'wikitext',
      metrics: {
        word_perplexity: { value: 10.35117 },
        bits_per_byte: { value: 0.69252 },
      },
    };
    expect(resultsTable([wiki])).toBe(
      [
        '| Tasks  |Version|Filter|n-shot|    Metric     |   | Value |   |Stderr|',
        '|--------|------:|------|-----:|---------------|---|------:|---|------|',
        '|wikitext|      1|none  |     0|bits_per_byte  |↓  | 0.6925|±  |   N/A|',
        '|        |       |none  |     0|word_perplexity|↓  |10.3512|±  |   N/A|',
      ].join('\n'),
    );
  });
});
