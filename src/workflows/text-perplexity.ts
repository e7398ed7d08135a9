import { LlmkitError } from '../errors.js';
import { scoreRows } from '../model/score.js';
import { type OpenModelOptions, openModel } from './open-model.js';

/** Longest window: a context of 128k tokens at once would take gigabytes of activations. */
const MAX_WINDOW = 2048;

/**
 * Perplexity of a text: encoded without special tokens, in windows of the model's context (2048 tokens at
 * most), whose first token is not scored.
 */
export async function textPerplexity(options: OpenModelOptions, text: string): Promise<number> {
  const open = await openModel(options);
  try {
    const ids = open.tokenizer.encode(text, { specialTokens: false });
    const length = Math.min(open.model.config.maxLength, MAX_WINDOW);
    let [sum, count] = [0, 0];
    for (let start = 0; start + 1 < ids.length; start += length) {
      const window = { ids: ids.slice(start, start + length), from: 1 };
      if (window.ids.length < 2) break;
      const [score] = await scoreRows(open.model, [window]);
      for (const logprob of score?.logprobs ?? []) sum += logprob;
      count += window.ids.length - 1;
    }
    if (count === 0) throw new LlmkitError('config', '--calib: expected at least 2 tokens of text');
    return Math.exp(-sum / count);
  } finally {
    open.close();
  }
}
