import type { Tokenizer } from '../../src/tokenizer/tokenizer.js';

/** A tokenizer without files: one id per UTF-8 byte, 256 ends a text. */
export const byteTokenizer: Tokenizer = {
  encode: (text) => [...Buffer.from(text)],
  decode: (ids) => Buffer.from(ids.filter((id) => id < 256)).toString(),
  streamDecoder() {
    const decoder = new TextDecoder();
    return {
      push: (id) => decoder.decode(Uint8Array.of(id), { stream: true }),
      flush: () => decoder.decode(),
    };
  },
  tokenText: (id) => String.fromCharCode(id),
  vocabSize: 257,
  eosIds: [256],
  hash: '',
};
