import type { BenchContext } from '../context.js';
import { runScore } from '../llmkit/run.js';
import type { Contender, Work } from '../measure/work.js';
import { parseShape, type Shape } from '../models/shape.js';
import { llamaPerplexity } from '../peers/llama-cpp.js';
import { prefillLimit, threadsName } from './variants.js';

/** Scoring of a text: the 15 M model's and the chosen shape's, bf16 weights in bf16. */
export function scoringWorks(context: BenchContext): Work[] {
  const { shape, quick, threads: counts } = context.options;
  const threads = Math.max(...counts);
  const small = parseShape('llama-15m');
  const windowTokens = quick ? 128 : 512;
  const chosen = { shape, windows: quick ? 1 : 3 };
  const all =
    quick || shape.name === small.name ? [chosen] : [{ shape: small, windows: 16 }, chosen];
  return all.map(({ shape: one, windows }): Work => {
    const name = `score ${windowTokens}, ${one.name}, bf16, ${threadsName(threads)}`;
    const limit = prefillLimit(one, 'bf16');
    return {
      name,
      threads,
      metrics: [{ key: 'rate', work: name, unit: 'tok/s', better: 'higher', limit }],
      open: () => contenders(context, one, { threads, windows, windowTokens }),
    };
  });
}

async function contenders(
  context: BenchContext,
  shape: Shape,
  job: { threads: number; windows: number; windowTokens: number },
): Promise<Contender[]> {
  const { models, options, peers, text } = context;
  const model = await models.checkpoint(shape, 'bf16', options.groupSize);
  const found: Contender[] = [
    {
      name: 'llmkit',
      async measure() {
        const answer = await runScore(context, { ...job, model, compute: 'bf16' });
        return { rate: answer.tokensPerSecond };
      },
    },
  ];
  const { perplexity } = peers.llamaCpp;
  if (perplexity !== undefined) {
    const file = (await models.gguf(shape, 'BF16')) as string;
    found.push({
      name: 'llama-perplexity BF16',
      measure: async () => ({
        rate: await llamaPerplexity(perplexity, { ...job, model: file, text }),
      }),
    });
  }
  return found;
}
