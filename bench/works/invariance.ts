import type { BenchContext } from '../context.js';
import { runGenerate } from '../llmkit/run.js';
import type { Contender } from '../measure/work.js';
import type { Weights } from '../models/cache.js';
import { decodeRun, type GenerationSizes, promptRun } from './sizes.js';
import type { Variant } from './variants.js';

const NAME = 'without invariance';

/**
 * What it costs that a token has the same bits alone and among others: llmkit, were prompts and single tokens each free to
 * take an arithmetic of their own.
 *
 * - Prompts from weights in groups: that of 16-bit weights, as if scales were multiplied into the values before the
 *   product. A single token would have to do so for every weight that it reads.
 * - Single tokens in bf16: that of AVX-512's dot products, which tiles do not have. Sums of integers are exact, so that
 *   under int8 each number of rows has its fastest instructions already.
 *
 * A ratio below 1 is what it costs; at 1 and above the one arithmetic is the fastest as well. The two stand in one column but
 * run apart, so that a prompt for which the weights in 16 bits are too large does not cost the figure of single tokens.
 */
export async function withoutInvariance(
  context: BenchContext,
  { weights, compute }: Variant,
  { threads, promptTokens, newTokens }: GenerationSizes,
): Promise<Contender[]> {
  const { shape, groupSize } = context.options;
  const model = (stored: Weights) => context.models.checkpoint(shape, stored, groupSize);
  const found: Contender[] = [];
  if (weights !== 'bf16') {
    const runs = [promptRun(promptTokens)];
    const job = { model: await model('bf16'), threads, compute: 'bf16', runs } as const;
    const measure = async () => {
      const [run] = (await runGenerate(context, job)).runs;
      return { prefill: run && promptTokens / run.promptSeconds };
    };
    found.push({ name: NAME, measure });
  }
  if (compute === 'bf16' && process.arch === 'x64') {
    const job = { model: await model(weights), threads, compute, runs: [decodeRun(newTokens)] };
    const measure = async () => {
      const [run] = (await runGenerate(context, job, { LLMKIT_ISA: 'avx512' })).runs;
      return { decode: run && 1 / run.stepSeconds };
    };
    found.push({ name: NAME, measure });
  }
  return found;
}
