import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type DataSource, loadDataset } from '../../../src/data/dataset.js';
import type { TextEncoder } from '../../../src/data/encoder.js';
import type { Example } from '../../../src/data/example.js';
import { turns, wordEncoder } from './word-encoder.js';

const folder = mkdtempSync(join(tmpdir(), 'dataset-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Given extends Omit<DataSource, 'path'> {
  readonly encoder?: TextEncoder;
  readonly maxLength?: number;
  readonly trainOn?: 'completion' | 'all';
}

function load(records: readonly object[], given: Given = {}) {
  const { encoder = wordEncoder(), maxLength = 100, trainOn = 'completion', ...source } = given;
  const path = join(folder, 'data.jsonl');
  writeFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  const dataset = loadDataset([{ path, ...source }], encoder, { maxLength, trainOn });
  return { ...dataset, shown: dataset.examples.map((example) => show(example, encoder)) };
}

/** The text with the trained tokens in brackets. */
function show({ ids, trained }: Example, encoder: TextEncoder): string {
  return Array.from(ids, (id, i) => {
    const text = encoder.tokenText(id);
    return trained[i] ? `[${text}]` : text;
  }).join('');
}

test('trains texts whole and ends them with EOS', () => {
  const { shown, template } = load([{ text: 'one two' }, { text: 'done</s>' }]);
  expect(shown).toEqual(['[<s>][one][ two][</s>]', '[<s>][done][</s>]']);
  expect(template).toEqual({ kind: 'none' });
});

test('trains the completion and its EOS of prompts without a chat template', () => {
  const { shown, template } = load([{ prompt: 'say hi', completion: 'hi there' }]);
  expect(shown).toEqual(['<s>### Instruction:\nsay hi\n\n### Response:\n[hi][ there][</s>]']);
  expect(template).toMatchObject({ kind: 'text' });
});

test('renders prompts through the chat template, without a second BOS or EOS', () => {
  const encoder = wordEncoder(turns);
  const { shown, template } = load([{ instruction: 'add', input: '1 2', output: '3' }], {
    encoder,
  });
  expect(shown).toEqual(['<s>user:\nadd\n1 2\nassistant:\n[3][</s>]']);
  expect(template).toEqual({ kind: 'chat', source: 'turns', hash: 'turns' });
});

test('trains every turn of the assistant', () => {
  const messages = [
    { role: 'system', content: 'brief' },
    { role: 'user', content: 'a b' },
    { role: 'assistant', content: 'c' },
    { role: 'user', content: 'd' },
    { role: 'assistant', content: 'e f' },
  ];
  const { shown } = load([{ messages }], { encoder: wordEncoder(turns) });
  expect(shown).toEqual([
    '<s>system:\nbrief\nuser:\na b\nassistant:\n[c][</s>]\nuser:\nd\nassistant:\n[e][ f][</s>]',
  ]);
});

test('adds an EOS where the chat template writes none', () => {
  const plain = {
    ...turns,
    render: (...args: Parameters<typeof turns.render>) =>
      turns.render(...args).replaceAll('</s>', ''),
  };
  const { shown } = load([{ prompt: 'a', completion: 'b' }], { encoder: wordEncoder(plain) });
  expect(shown).toEqual(['<s>user:\na\nassistant:\n[b][\n][</s>]']);
});

test('follows a template that renders old turns differently from the last one', () => {
  const thinking = {
    ...turns,
    render(
      messages: Parameters<typeof turns.render>[0],
      options: { addGenerationPrompt: boolean },
    ) {
      const last = messages.length - 1;
      const shown = messages.map((message, i) =>
        message.role === 'assistant' && i === last
          ? { ...message, content: `think\n${message.content}` }
          : message,
      );
      return turns.render(shown, options);
    },
  };
  const messages = ['a', 'b', 'c', 'd'].map((content, i) => ({
    role: i % 2 === 0 ? 'user' : 'assistant',
    content,
  }));
  const { shown } = load([{ messages }], { encoder: wordEncoder(thinking) });
  expect(shown).toEqual([
    '<s>user:\na\nassistant:\n[b][</s>]\nuser:\nc\nassistant:\n[think][\n][d][</s>]',
  ]);
});

test('trains everything with train_on: all', () => {
  const { shown } = load([{ prompt: 'a', completion: 'b' }], {
    encoder: wordEncoder(turns),
    trainOn: 'all',
  });
  expect(shown).toEqual(['[<s>][user:][\n][a][\n][assistant:][\n][b][</s>][\n]']);
});

test('uses a template of its own for any keys', () => {
  const { shown, template } = load([{ question: 'a', answer: 'b', id: 7 }], {
    encoder: wordEncoder(turns),
    template: 'Q {question} A {answer} end',
  });
  expect(shown).toEqual(['<s>Q a A [ b][ end][</s>]'.replace('A [ b]', 'A[ b]')]);
  expect(template).toEqual({ kind: 'text', text: 'Q {question} A {answer} end' });
});

test('cuts the end of long completions, skips prompts that fill the length, and counts both', () => {
  const { shown, stats } = load(
    [
      { prompt: 'a', completion: 'b c d e' },
      { prompt: 'a a a a a a a a a a', completion: 'b' },
    ],
    { template: '{prompt}\n{completion}', maxLength: 5 },
  );
  expect(shown).toEqual(['<s>a\n[b][ c]']);
  expect(stats).toMatchObject({
    records: 2,
    truncated: 2,
    skipped: 1,
    trainedTokens: 2,
    longest: 5,
  });
  expect(stats.skippedAt[0]).toMatch(/data\.jsonl:2$/);
});

test('gives a token that straddles prompt and completion to the completion, and counts it', () => {
  const { shown, stats } = load([{ prompt: 'a b', completion: 'c d' }], {
    template: '{prompt}{completion}',
  });
  expect(shown).toEqual(['<s>a[ bc][ d][</s>]']);
  expect(stats).toMatchObject({ straddling: 1 });
  expect(stats.firstStraddling).toMatch(/data\.jsonl:1: token " bc"/);
});

test.each<[string, object[], Given, RegExp]>([
  [
    'unknown keys',
    [{ txt: 'a' }],
    {},
    /data\.jsonl:1: expected the keys of .*text \(text\).*got txt/,
  ],
  [
    'a changed format',
    [{ text: 'a' }, { prompt: 'b' }],
    {},
    /data\.jsonl:2: expected a text under "text", got keys prompt/,
  ],
  ['a number for a text', [{ text: 3 }], {}, /data\.jsonl:1: expected a text under "text", got 3/],
  [
    'messages without a template',
    [{ messages: [{ role: 'assistant', content: 'a' }] }],
    {},
    /messages need a chat template/,
  ],
  ['messages that are none', [{ messages: ['a'] }], {}, /"messages" to be a list of/],
  ['a chat template that is not there', [{ text: 'a' }], { template: 'chat' }, /it has none/],
  ['nothing to train', [{ prompt: 'a', completion: 'b' }], { maxLength: 2 }, /raise it/],
  ['an empty file', [], {}, /there are no records/],
])('refuses %s', (_, records, given, message) => {
  expect(() => load(records, given)).toThrow(message);
});
