import type { Tokenizer } from '../../../src/tokenizer/tokenizer.js';

const BOS = 256;

/** One id per byte, but `ab` is one id too; BOS (`<s>`) before a text like most tokenizers. */
export function byteTokenizer(overrides: Partial<Tokenizer> = {}): Tokenizer {
  return {
    encode(text, { specialTokens = true } = {}) {
      const ids = text
        .split(/(<s>|ab)/)
        .flatMap((part) =>
          part === '<s>' ? [BOS] : part === 'ab' ? [257] : [...Buffer.from(part)],
        );
      return specialTokens ? [BOS, ...ids] : ids;
    },
    decode(ids, { skipSpecialTokens = true } = {}) {
      return ids
        .map((id) =>
          id === BOS
            ? skipSpecialTokens
              ? ''
              : '<s>'
            : id === 257
              ? 'ab'
              : String.fromCharCode(id),
        )
        .join('');
    },
    streamDecoder: () => ({ push: () => '', flush: () => '' }),
    tokenText: (id) => String.fromCharCode(id),
    vocabSize: 258,
    bosId: BOS,
    eosIds: [],
    hash: '',
    ...overrides,
  };
}
