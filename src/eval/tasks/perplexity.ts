import { readText } from '../../data/text.js';
import { LlmkitError } from '../../errors.js';
import { bitsPerByte, weightedPerplexity } from '../metrics.js';
import { countWords } from '../python-text.js';
import type { EvalDocument, Task } from '../task.js';

/** A stretch of the text that the model sees at once; ids[from..] are scored. */
interface Window {
  readonly start: number;
  readonly ids: readonly number[];
  readonly from: number;
}

/** Perplexity of a text, in windows of the model's context: its documents are the windows. */
export const perplexity: Task = {
  version: 1,
  summary: 'Perplexity of a text file, in windows of the context',
  metrics: {
    perplexity: weightedPerplexity,
    word_perplexity: weightedPerplexity,
    bits_per_byte: bitsPerByte,
  },
  async documents(path, { tokenizer, contextLength, options }) {
    const text = await readText(path);
    const ids = tokenizer.encode(text, { specialTokens: false });
    if (ids.length < 2) {
      throw new LlmkitError('config', `${path}: expected at least 2 tokens, got ${ids.length}`);
    }
    const perToken = {
      words: countWords(text) / ids.length,
      bytes: Buffer.byteLength(text) / ids.length,
    };
    const stride = options.stride ?? contextLength;
    if (stride > contextLength) {
      throw new LlmkitError(
        'usage',
        `--stride: expected at most the context length ${contextLength}, got ${stride}`,
      );
    }
    return windowsOf(ids, contextLength, stride).map((window) => windowDocument(window, perToken));
  },
};

/** Windows that score every token once, but for the first of a window that shares nothing with the one before. */
function windowsOf(ids: readonly number[], length: number, stride: number): readonly Window[] {
  const windows: Window[] = [];
  for (let start = 0, scored = 0; scored < ids.length; start += stride) {
    const end = Math.min(start + length, ids.length);
    const from = Math.max(1, scored - start);
    if (end - start > from) windows.push({ start, ids: ids.slice(start, end), from });
    scored = end;
  }
  return windows;
}

/** Words and bytes of a window's scored tokens are taken as the text's own per token. */
function windowDocument(
  { start, ids, from }: Window,
  perToken: { readonly words: number; readonly bytes: number },
): EvalDocument {
  return {
    fields: { start, tokens: ids.length, scored: ids.length - from },
    target: '',
    requests: () => [{ kind: 'tokens', rows: [{ ids, from }] }],
    measure(scores) {
      const logprob = scores.reduce((sum, score) => sum + score.logprob, 0);
      const tokens = scores.reduce((sum, score) => sum + score.tokens, 0);
      return {
        perplexity: [logprob, tokens],
        word_perplexity: [logprob, tokens * perToken.words],
        bits_per_byte: [logprob, tokens * perToken.bytes],
      };
    },
  };
}
