import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { RequestScore, TaskOptions } from '../../../src/eval/task.js';
import { tasks } from '../../../src/eval/tasks/index.js';
import { byteTokenizer } from './byte-tokenizer.js';

const folder = mkdtempSync(join(tmpdir(), 'llmkit-tasks-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | readonly object[]): string {
  const path = join(folder, name);
  const text =
    typeof content === 'string' ? content : content.map((row) => JSON.stringify(row)).join('\n');
  writeFileSync(path, text);
  return path;
}

const documents = (name: string, path: string, options: TaskOptions = {}, contextLength = 8) =>
  // biome-ignore lint/style/noNonNullAssertion: a wrong name fails the test
  tasks[name]!.documents(path, { tokenizer: byteTokenizer(), contextLength, options });
const score = (logprob: number): RequestScore => ({ logprob, greedy: false, tokens: 1 });
const prompt = { context: 'C', delimiter: ' ' };

const hellaswagRow = {
  ind: 1,
  activity_label: 'Baking',
  ctx_a: ' A [title] cake. [b] Then',
  ctx_b: 'the OVEN [x]',
  endings: ['is hot [title] now.', 'b', 'c', 'd'],
  label: '2',
};

describe('hellaswag', () => {
  test('asks as lm-evaluation-harness does', async () => {
    const [document] = await documents('hellaswag', file('h.jsonl', [hellaswagRow]));
    // Brackets go before double blanks do, and blanks at the end of the context stay.
    expect(document?.turn).toEqual({ question: 'Baking: A. cake. Then The oven ', answer: 'c' });
    expect(document?.requests(prompt)[0]).toEqual({
      kind: 'continuation',
      context: 'C',
      continuation: ' is hot. now.',
    });
    expect(document?.target).toBe(2);
  });

  test('acc takes the first of equals, acc_norm divides by code points', async () => {
    const row = { ...hellaswagRow, endings: ['🌼🌼', 'aaaa', 'b', 'c'], label: 1 };
    const [document] = await documents('hellaswag', file('m.jsonl', [row]));
    expect(document?.measure([-4, -4, -9, -9].map(score))).toEqual({ acc: 0, acc_norm: 1 });
    expect(document?.measure([-4, -9, -9, -9].map(score))).toEqual({ acc: 0, acc_norm: 0 });
    expect(document?.measure([-5, -4, -4, -9].map(score))).toEqual({ acc: 1, acc_norm: 1 });
  });

  test('reads parquet by its name', async () => {
    const all = await documents('hellaswag', 'fixtures/tasks/stories.parquet');
    const lines = await documents('hellaswag', 'fixtures/tasks/stories.jsonl');
    expect(all.map(({ fields }) => fields)).toEqual(lines.map(({ fields }) => fields));
  });
});

describe('multiple_choice', () => {
  test.each([1, '1', 'no'])('the label %j is the second choice', async (label) => {
    const rows = [{ question: 'Is it?', choices: ['yes', 'no'], label }];
    const [document] = await documents('multiple_choice', file('c.jsonl', rows));
    expect(document?.turn).toEqual({ question: 'Is it?', answer: 'no' });
    expect(document?.measure([-2, -1].map(score))).toEqual({ acc: 1, acc_norm: 1 });
  });
});

describe('classification', () => {
  const rows = [
    { text: 'good', label: 'pos' },
    { text: 'bad', label: 'neg' },
  ];

  test('names in the file are the labels, in alphabetical order', async () => {
    const [document] = await documents('classification', file('n.jsonl', rows));
    const asked = document
      ?.requests(prompt)
      .map((request) => request.kind === 'continuation' && request.continuation);
    expect(asked).toEqual([' neg', ' pos']);
    expect(document?.measure([-2, -1].map(score))).toEqual({ acc: 1 });
  });

  test('numbers are places in --labels, unless they are labels', async () => {
    const path = file('i.jsonl', [{ text: 'x', label: 1 }]);
    expect((await documents('classification', path, { labels: ['neg', 'pos'] }))[0]?.target).toBe(
      1,
    );
    expect((await documents('classification', path, { labels: ['1', '2'] }))[0]?.target).toBe(0);
    await expect(documents('classification', path)).rejects.toThrow('--labels');
  });

  test('a template takes any field and \\n', async () => {
    const path = file('t.jsonl', [{ sentence: 'good', label: 'a' }]);
    const options = { labels: ['a', 'b'], promptTemplate: '{sentence}\\nMood:' };
    const [document] = await documents('classification', path, options);
    expect(document?.turn?.question).toBe('good\nMood:');
    await expect(documents('classification', path, { labels: ['a', 'b'] })).rejects.toThrow(
      /t\.jsonl:1: .*\{text\}.* sentence, label/,
    );
  });
});

describe('perplexity', () => {
  const windows = async (stride?: number) => {
    const path = file('p.txt', '0123456789abcdefghij');
    const all = await documents('perplexity', path, { stride }, 8);
    return all.map((document) => {
      const [request] = document.requests(prompt);
      const row = request?.kind === 'tokens' ? request.rows[0] : undefined;
      return [row?.ids.length, row?.from];
    });
  };

  test('windows of the context, the first token of each not scored', async () => {
    expect(await windows()).toEqual([
      [8, 1],
      [8, 1],
      [3, 1],
    ]); // 'ab' is one token: 19
  });

  test('a smaller stride scores what is new in each window', async () => {
    expect(await windows(3)).toEqual([
      [8, 1],
      [8, 5],
      [8, 5],
      [8, 5],
      [7, 5],
    ]);
  });

  test('a stride beyond the window is refused', async () => {
    await expect(windows(9)).rejects.toThrow('--stride: expected at most the context length 8');
  });

  test('counts per token, per word and per byte', async () => {
    const path = file('w.txt', 'xy zu vw');
    const [document] = await documents('perplexity', path, {}, 8);
    const values = document?.measure([{ logprob: -14, greedy: false, tokens: 7 }]);
    // 8 tokens are 3 words and 8 bytes; 7 of them were scored.
    expect(values).toEqual({
      perplexity: [-14, 7],
      word_perplexity: [-14, (7 * 3) / 8],
      bits_per_byte: [-14, 7],
    });
  });
});

describe('mistakes', () => {
  test.each([
    [
      'hellaswag',
      [{ ...hellaswagRow, ctx_b: undefined }],
      /x\.jsonl:1: the field ctx_b is missing; expected \{activity_label, ctx_a, ctx_b, endings\[\], label\}, got ind, activity_label/,
    ],
    [
      'hellaswag',
      [hellaswagRow, { ...hellaswagRow, label: '' }],
      /x\.jsonl:2: label: expected 0 to 3/,
    ],
    [
      'hellaswag',
      [{ ...hellaswagRow, endings: 'b' }],
      /endings: expected a list of texts, got "b"/,
    ],
    [
      'hellaswag',
      [{ ...hellaswagRow, endings: ['[x]', 'b'], label: 0 }],
      /x\.jsonl:1: expected choices with a text/,
    ],
    [
      'multiple_choice',
      [{ question: 'q', choices: ['a', 'b'], label: 2 }],
      /label: expected 0 to 1 or one of the choices, got 2/,
    ],
    ['multiple_choice', [{ choices: ['a', 'b'], label: 0 }], /the field question is missing/],
    [
      'classification',
      [{ text: 'a', label: 'x' }, { text: 'a' }],
      /x\.jsonl:2: the field label is missing/,
    ],
    [
      'classification',
      '{"text": "a", "label": "b"}\n{"text": ',
      /x\.jsonl:2: expected a JSON object/,
    ],
    ['multiple_choice', '', /expected at least one document/],
    ['perplexity', 'a', /expected at least 2 tokens, got 1/],
  ])('%s: %#', async (name, content, said) => {
    await expect(documents(name, file('x.jsonl', content))).rejects.toThrow(said);
  });

  test.each(Object.keys(tasks))('%s names a missing file', async (name) => {
    await expect(documents(name, join(folder, 'nowhere'))).rejects.toThrow('nowhere');
  });

  test('a parquet file that is none', async () => {
    const path = file('broken.parquet', 'PAR1 but not really');
    await expect(documents('hellaswag', path)).rejects.toThrow(
      /broken\.parquet: not a readable parquet/,
    );
  });
});
