import { describe, expect, test } from 'vitest';
import { encodeRequest } from '../../../src/eval/encode.js';
import type { Request } from '../../../src/eval/task.js';
import { byteTokenizer } from './byte-tokenizer.js';

const BOS = 256;
const bytes = (text: string) => [...Buffer.from(text)];
const pair = (context: string, continuation: string): Request => ({
  kind: 'continuation',
  context,
  continuation,
});
const tokenizer = byteTokenizer();
const encode = (request: Request, options: { contextLength?: number; rendered?: boolean } = {}) =>
  encodeRequest(request, { tokenizer, contextLength: 100, ...options }).rows[0];

describe('a context and its continuation', () => {
  test('are encoded with the special tokens once; the rest is scored', () => {
    expect(encode(pair('xy', ' z'))).toEqual({ ids: [BOS, ...bytes('xy z')], from: 3 });
  });

  test('trailing white space of the context is scored with the continuation', () => {
    expect(encode(pair('xy \n', 'z'))).toEqual({ ids: [BOS, ...bytes('xy \nz')], from: 3 });
  });

  test('a token across the border is cut at the length of the context', () => {
    // 'xa' is 2 tokens and BOS; in the whole 'ab' is one token, so 'c' alone is left.
    expect(encode(pair('xa', 'bc'))).toEqual({ ids: [BOS, 120, 97, 99], from: 3 });
  });

  test('special tokens that the text begins with are not added again', () => {
    expect(encode(pair('<s>x', 'y'))).toEqual({ ids: [BOS, ...bytes('xy')], from: 2 });
  });

  test('a text rendered by a chat template is encoded as it is', () => {
    expect(encode(pair('x', 'y'), { rendered: true })).toEqual({ ids: bytes('xy'), from: 1 });
  });

  test('too long: the beginning goes, one token more than the context stays', () => {
    const long = encodeRequest(pair('uvwxyz', '123'), { tokenizer, contextLength: 4 });
    expect(long).toEqual({ rows: [{ ids: bytes('yz123'), from: 2 }], isTruncated: true });
    const fitting = encodeRequest(pair('z', '123'), { tokenizer, contextLength: 4 });
    expect(fitting.isTruncated).toBe(false);
  });
});

describe('without a context', () => {
  test('BOS stands before the continuation', () => {
    expect(encode(pair('', ' z'))).toEqual({ ids: [BOS, ...bytes(' z')], from: 1 });
  });

  test('white space alone is no context', () => {
    expect(encode(pair('  ', 'z'), { rendered: true })).toEqual({
      ids: [BOS, ...bytes('  z')],
      from: 1,
    });
  });

  test('a continuation that begins with BOS follows it', () => {
    expect(encode(pair('', '<s>z'))).toEqual({ ids: [BOS, ...bytes('z')], from: 1 });
  });

  test('EOS stands in for a missing BOS; with neither it is an error', () => {
    const { bosId: _, ...none } = byteTokenizer();
    const options = { contextLength: 9 };
    expect(
      encodeRequest(pair('', 'z'), { ...options, tokenizer: { ...none, eosIds: [7] } }).rows,
    ).toEqual([{ ids: [7, 122], from: 1 }]);
    expect(() => encodeRequest(pair('', 'z'), { ...options, tokenizer: none })).toThrow(
      /BOS or EOS/,
    );
  });
});

test.each([
  ['', '1 to 4'],
  ['12345', 'has 5 tokens'],
])('the answer %j cannot be scored', (continuation, said) => {
  expect(() => encode(pair('x', continuation), { contextLength: 4 })).toThrow(said);
});
