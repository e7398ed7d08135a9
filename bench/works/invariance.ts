import type { BenchContext } from '../context.js';
import { runGenerate } from '../llmkit/run.js';
import type { Contender } from '../measure/work.js';
import { decodeRun, type GenerationSizes, promptRun } from './sizes.js';
import type { Variant } from './variants.js';

/**
 * What it costs that a token has the same bits alone and among others: llmkit, were prompts and single tokens each free to
 * take an arithmetic of their own.
 *
 * - Prompts from weights in groups: that of 16-bit weights, as if scales were multiplied into the values before the
 *   product. A single token would have to do so for every weight that it reads.
 * - Single tokens in bf16: that of AVX-512's dot products, which tiles do not have. Sums of integers are exact, so that
 *   under int8 each number of rows has its fastest instructions already.
 *
 * A ratio below 1 is what it costs; at 1 and above the one arithmetic is the fastest as well.
 */
export async function withoutInvariance(
  context: BenchContext,
  { weights, compute }: Variant,
  { threads, promptTokens, newTokens }: GenerationSizes,
): Promise<Contender> {
  const { shape, groupSize } = context.options;
  const model = await context.models.checkpoint(shape, weights, groupSize);
  const plain = await context.models.checkpoint(shape, 'bf16', groupSize);
  const prefill = async () => {
    const job = {
      model: plain,
      threads,
      compute: 'bf16',
      runs: [promptRun(promptTokens)],
    } as const;
    const [run] = (await runGenerate(context, job)).runs;
    return run && promptTokens / run.promptSeconds;
  };
  const decode = async () => {
    const job = { model, threads, compute, runs: [decodeRun(newTokens)] };
    const [run] = (await runGenerate(context, job, { LLMKIT_ISA: 'avx512' })).runs;
    return run && 1 / run.stepSeconds;
  };
  return {
    name: 'without invariance',
    measure: async () => ({
      ...(weights !== 'bf16' && { prefill: await prefill() }),
      ...(compute === 'bf16' && process.arch === 'x64' && { decode: await decode() }),
    }),
  };
}
