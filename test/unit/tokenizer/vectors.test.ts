import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadTokenizer, type Tokenizer } from '../../../src/tokenizer/tokenizer.js';
import { randomNormal } from '../../helpers/random.js';
import { sharedData } from '../../helpers/shared-data.js';

const readJson = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8'));
const tokenize = (tokenizer: Tokenizer, ids: readonly number[]) => {
  const stream = tokenizer.streamDecoder();
  return ids.map((id) => stream.push(id)).join('') + stream.flush();
};

interface Vector {
  readonly text: string;
  readonly ids: number[];
  readonly ids_no_special: number[];
  readonly decoded: string;
  readonly decoded_skip: string;
}

describe.each(['gpt2', 'mistral-v1'])('%s', (name) => {
  const folder = sharedData('tokenizers', name);
  if (!folder) return test.skip('its vectors', () => {});
  const cases: Vector[] = readJson(folder, 'golden.json').cases;

  test('ids and text of every vector', async () => {
    const tokenizer = await loadTokenizer(folder);
    expect(cases.length).toBeGreaterThan(50);
    for (const { text, ids, ids_no_special, decoded, decoded_skip } of cases) {
      expect(tokenizer.encode(text)).toEqual(ids);
      expect(tokenizer.encode(text, { specialTokens: false })).toEqual(ids_no_special);
      expect(tokenizer.decode(ids_no_special, { skipSpecialTokens: false })).toBe(decoded);
      expect(tokenizer.decode(ids)).toBe(decoded_skip);
      expect(tokenize(tokenizer, ids)).toBe(decoded_skip);
    }
  });

  test('streams random ids as it decodes them, whole characters at a time', async () => {
    const tokenizer = await loadTokenizer(folder);
    const byteIds = Array.from({ length: 256 }, (_, i) => i + 3);
    for (let seed = 0; seed < 60; seed++) {
      const ids = Array.from(
        randomNormal(80, seed),
        (value) =>
          Math.abs(Math.floor(value * 1e6)) % (seed % 2 ? byteIds.length : tokenizer.vocabSize),
      );
      expect(tokenize(tokenizer, ids)).toBe(tokenizer.decode(ids));
    }
  });
});

const gpt2 = sharedData('tokenizers', 'gpt2');
test.runIf(gpt2)(
  'gpt2: a byte order mark is no white space, U+0085 is (ids of tokenizers 0.23)',
  async () => {
    const { encode } = await loadTokenizer(gpt2 as string);
    expect(encode('x \ufeffy z\u0085 !')).toEqual([87, 27332, 119, 123, 88, 1976, 126, 227, 5145]);
  },
);

test.each(['stories260k-hf', 'base-llama-6m'])('%s: prompts and generated text', async (name) => {
  const folder = sharedData(name);
  if (!folder) return;
  const reference = readJson(folder, 'reference.json');
  const tokenizer = await loadTokenizer(folder);
  for (const entry of reference.cases ?? reference.greedy) {
    const { prompt, prompt_ids, generated_ids, text } = entry;
    expect(tokenizer.encode(prompt)).toEqual(prompt_ids);
    expect(tokenize(tokenizer, generated_ids)).toBe(tokenizer.decode(generated_ids));
    const ids = reference.cases ? [...prompt_ids.slice(1), ...generated_ids] : generated_ids;
    expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(text);
  }
});
