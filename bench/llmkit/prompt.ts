import type { Tokenizer } from '../../src/tokenizer/tokenizer.js';

/**
 * A text of exactly `count` tokens, taken from a longer one that is repeated as often as needed.
 *
 * @throws Error when no beginning of the text has that many
 */
export function textOfTokens(tokenizer: Tokenizer, source: string, count: number): string {
  const repeated = source.repeat(Math.ceil((8 * count) / source.length) + 1);
  let [low, high] = [0, repeated.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tokenizer.encode(repeated.slice(0, middle)).length < count) low = middle + 1;
    else high = middle;
  }
  for (let length = low; length < low + 16; length++) {
    const text = repeated.slice(0, length);
    if (tokenizer.encode(text).length === count) return text;
  }
  throw new Error(`the text has no beginning of ${count} tokens`);
}
