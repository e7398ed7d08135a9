import { expect, test } from 'vitest';
import { Sequence, type SequenceOptions } from '../../../src/generate/sequence.js';
import { byteTokenizer } from '../../helpers/byte-tokenizer.js';

function write(text: string, options: Partial<SequenceOptions> = {}) {
  const pieces: string[] = [];
  const sequence = new Sequence({
    tokenizer: byteTokenizer,
    promptIds: byteTokenizer.encode('é:'),
    maxNewTokens: 100,
    stop: [],
    echo: false,
    onText: (piece) => pieces.push(piece),
    ...options,
  });
  for (const id of byteTokenizer.encode(text)) if (!sequence.finishReason) sequence.push(id);
  return { sequence, pieces };
}

test('characters are shown whole, offsets count code points', () => {
  const { sequence, pieces } = write('a🙂b');
  expect(pieces).toEqual(['a', '🙂', 'b']);
  expect(sequence.textOffsets()).toEqual([0, 1, 1, 1, 1, 2]);
  expect(sequence.finishReason).toBeUndefined();
});

test('echo begins with the prompt, its ids have offsets too', () => {
  const { sequence } = write('b', { echo: true });
  expect(sequence.text).toBe('é:b');
  expect(sequence.ids).toEqual([98]);
  expect(sequence.textOffsets()).toEqual([0, 0, 1, 2]);
});

test('the end of the sequence is an id, and no text', () => {
  const { sequence } = write('ab');
  sequence.push(256);
  expect(sequence.finishReason).toBe('stop');
  expect(sequence.ids).toEqual([97, 98, 256]);
  expect(sequence.text).toBe('ab');
  expect(sequence.textOffsets()).toEqual([0, 1, 2]);
});

test('a stop string cuts the text, not the ids', () => {
  const { sequence } = write('so it ends', { stop: ['it'] });
  expect(sequence).toMatchObject({ finishReason: 'stop', text: 'so ' });
  expect(sequence.ids).toHaveLength(5);
  expect(sequence.textOffsets()).toEqual([0, 1, 2, 3, 3]);
});

test('a stop string in the prompt does not stop', () => {
  const { sequence } = write('b', { stop: [':'], echo: true });
  expect(sequence).toMatchObject({ text: 'é:b', finishReason: undefined });
});

test('the last token shows what was held back', () => {
  const { sequence } = write('abc', { stop: ['cd'], maxNewTokens: 3 });
  expect(sequence).toMatchObject({ text: 'abc', finishReason: 'length' });
});

test('no new tokens: finished at once', () => {
  expect(write('', { maxNewTokens: 0 }).sequence.finishReason).toBe('length');
});
