import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadTokenizer } from '../../../src/tokenizer/tokenizer.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const special = (id: number, content: string) => ({
  id,
  content,
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
});

const bytes = Array.from({ length: 256 }, (_, byte) => {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
});
const words = ['<unk>', '<s>', '</s>', ...bytes, '▁', 'a', 'b', '▁a', '▁b'];
const idOf = (token: string) => words.indexOf(token);

/** A SentencePiece-style tokenizer of two letters with byte fallback. */
const sentencePiece = {
  version: '1.0',
  added_tokens: [special(0, '<unk>'), special(1, '<s>'), special(2, '</s>')],
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  pre_tokenizer: null,
  post_processor: {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
  },
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ],
  },
  model: {
    type: 'BPE',
    unk_token: '<unk>',
    fuse_unk: true,
    byte_fallback: true,
    vocab: Object.fromEntries(words.map((word, id) => [word, id])),
    merges: ['▁ a', '▁ b'],
  },
};

function folderOf(files: Readonly<Record<string, object | string>>): string {
  const folder = temporaryFolder();
  for (const [name, value] of Object.entries(files)) {
    writeFileSync(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value));
  }
  return folder;
}

const load = (files: Readonly<Record<string, object | string>> = {}) =>
  loadTokenizer(folderOf({ 'tokenizer.json': sentencePiece, ...files }));

test('the post-processor decides on special tokens', async () => {
  const tokenizer = await load();
  const ids = ['▁a', '▁b', 'a'].map(idOf);
  expect(tokenizer.encode('a ba')).toEqual([1, ...ids]);
  expect(tokenizer.encode('a ba', { specialTokens: false })).toEqual(ids);
  expect(tokenizer.encode('a</s>', { specialTokens: false })).toEqual([idOf('▁a'), 2]);
  expect(tokenizer.decode([1, ...ids, 2])).toBe('a ba');
  expect(tokenizer.decode([1, ...ids, 2], { skipSpecialTokens: false })).toBe('<s> a ba</s>');
  expect(tokenizer.decode([])).toBe('');
  expect(tokenizer.decode([...ids, 99_999])).toBe('a ba');
  expect(tokenizer.vocabSize).toBe(words.length);
});

describe('streams', () => {
  test('characters whole, however the bytes come', async () => {
    const tokenizer = await load();
    const text = 'a é b€ a😀 b';
    const ids = tokenizer.encode(text, { specialTokens: false });
    const stream = tokenizer.streamDecoder();
    const parts = [...ids.map((id) => stream.push(id)), stream.flush()];
    expect(parts.join('')).toBe(text);
    for (const part of parts) expect(part).not.toMatch(/\ufffd|\p{Cs}/u);
    expect(parts.filter((part) => part !== '').length).toBeGreaterThan(3);
  });

  test('without the first space only', async () => {
    const stream = (await load()).streamDecoder();
    const ids = ['<s>', '▁', '▁a', '▁', '</s>', '▁b'].map(idOf);
    expect(ids.map((id) => stream.push(id))).toEqual(['', '', ' a', ' ', '', ' b']);
  });

  test('bytes that are no text, one replacement character each, and a byte order mark', async () => {
    const tokenizer = await load();
    for (const tokens of [
      ['▁a', '<0xE2>', '<0x82>'],
      ['<0xE2>', '<0x82>', '<0xAC>', '<0xFF>', 'a'],
      ['<0xE2>', '</s>', '<0x82>', '<0xAC>'],
      ['<0x41>', '</s>', '<0xFF>'],
      ['<0xEF>', '<0xBB>', '<0xBF>', 'a'],
    ]) {
      const ids = tokens.map(idOf);
      const stream = tokenizer.streamDecoder();
      expect(ids.map((id) => stream.push(id)).join('') + stream.flush()).toBe(
        tokenizer.decode(ids),
      );
    }
    expect(tokenizer.decode(['▁a', '<0xE2>', '<0x82>'].map(idOf))).toBe('a\ufffd\ufffd');
    expect(tokenizer.decode(['<0xEF>', '<0xBB>', '<0xBF>', 'a'].map(idOf))).toBe('\ufeffa');
  });
});

test('what one token adds to a text', async () => {
  const tokenizer = await load();
  const texts = ['▁a', 'a', '▁', '<0xE2>', '</s>'].map((token) => tokenizer.tokenText(idOf(token)));
  expect(texts).toEqual([' a', 'a', ' ', '<0xE2>', '</s>']);
});

describe('special tokens', () => {
  test('by text, by object, and the union of what ends a text', async () => {
    const tokenizer = await load({
      'tokenizer_config.json': { bos_token: { content: '<s>', lstrip: false }, eos_token: '</s>' },
      'special_tokens_map.json': { pad_token: '<unk>' },
      'generation_config.json': { eos_token_id: [2, 5], pad_token_id: 7 },
      'config.json': { eos_token_id: 6, bos_token_id: 1 },
    });
    expect(tokenizer).toMatchObject({ bosId: 1, eosIds: [2, 5, 6], padId: 0 });
  });

  test('none', async () => {
    const tokenizer = await load({ 'tokenizer_config.json': { pad_token: null } });
    expect([tokenizer.bosId, tokenizer.padId, tokenizer.eosIds]).toEqual([
      undefined,
      undefined,
      [],
    ]);
  });
});

describe('chat template', () => {
  const settings = (chat_template: unknown) => ({
    'tokenizer_config.json': { bos_token: '<s>', chat_template },
  });
  const render = async (files: Readonly<Record<string, object | string>>) =>
    (await load(files)).chatTemplate?.render([{ role: 'user', content: 'Hi' }], {
      addGenerationPrompt: true,
    });
  const named = [
    { name: 'tool_use', template: 'tools' },
    { name: 'default', template: '{{ bos_token }}{{ messages[0].content }}' },
  ];

  test.each<[string, Readonly<Record<string, object | string>>, string | undefined]>([
    ['a text', settings('{{ messages[0].role }}'), 'user'],
    ['a named list', settings(named), '<s>Hi'],
    ['a list without a default', settings(named.slice(0, 1)), undefined],
    ['its own file first', { ...settings('x'), 'chat_template.jinja': 'file\n' }, 'file'],
    ['none', {}, undefined],
  ])('%s', async (_, files, expected) => {
    expect(await render(files)).toBe(expected);
  });
});

describe('says what is wrong', () => {
  test('no tokenizer.json', async () => {
    await expect(loadTokenizer(folderOf({}))).rejects.toThrow(/tokenizer\.json: no such file$/);
    const old = folderOf({ 'tokenizer.model': 'x' });
    await expect(loadTokenizer(old)).rejects.toThrow(/only tokenizer\.model; .*AutoTokenizer/);
  });

  test('broken files are named', async () => {
    await expect(load({ 'tokenizer.json': '{' })).rejects.toThrow(
      /tokenizer\.json: not valid JSON/,
    );
    await expect(load({ 'tokenizer.json': '[]' })).rejects.toThrow(
      /tokenizer\.json: expected a JSON object/,
    );
    await expect(load({ 'tokenizer_config.json': '{' })).rejects.toThrow(/tokenizer_config\.json/);
    const odd = { ...sentencePiece, model: { type: 'Wombat', vocab: {} } };
    await expect(load({ 'tokenizer.json': odd })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/tokenizer\.json: cannot be used/),
    });
  });
});
