import type { BenchContext } from '../context.js';
import { runGenerate } from '../llmkit/run.js';
import type { Contender, Metric, Work } from '../measure/work.js';
import { llamaBench } from '../peers/llama-cpp.js';
import {
  bytesPerToken,
  decodeLimit,
  prefillLimit,
  threadsName,
  VARIANTS,
  type Variant,
  variantName,
} from './variants.js';

/** Prefill of a prompt, decoding after it and memory: a work per variant and thread count. */
export function generationWorks(context: BenchContext): Work[] {
  return context.options.threads.flatMap((threads) =>
    VARIANTS.map((variant): Work => {
      const sizes = generationSizes(context);
      const name = `${variantName(variant)}, ${threadsName(threads)}`;
      return {
        name: `generate ${name}`,
        threads,
        metrics: metricsOf(context, variant, name),
        open: () => contenders(context, variant, { threads, ...sizes }),
      };
    }),
  );
}

interface Sizes {
  readonly promptTokens: number;
  readonly newTokens: number;
}

function generationSizes({ options }: BenchContext): Sizes {
  return options.quick
    ? { promptTokens: 128, newTokens: 16 }
    : { promptTokens: 512, newTokens: 64 };
}

function metricsOf(context: BenchContext, { weights, compute }: Variant, name: string): Metric[] {
  const { shape, groupSize } = context.options;
  const { promptTokens, newTokens } = generationSizes(context);
  return [
    {
      key: 'prefill',
      work: `prefill ${promptTokens}, ${name}`,
      unit: 'tok/s',
      better: 'higher',
      limit: prefillLimit(shape, compute),
    },
    {
      key: 'decode',
      work: `decode ${newTokens}, ${name}`,
      unit: 'tok/s',
      better: 'higher',
      limit: decodeLimit(bytesPerToken(shape, weights, groupSize)),
    },
    { key: 'peak', work: `generate memory, ${name}`, unit: 'GB', better: 'lower' },
  ];
}

async function contenders(
  context: BenchContext,
  { weights, compute, gguf, node }: Variant,
  { threads, promptTokens, newTokens }: Sizes & { threads: number },
): Promise<Contender[]> {
  const { options, models, peers } = context;
  const { shape, groupSize } = options;
  const job = { threads, promptTokens, newTokens };
  const model = await models.checkpoint(shape, weights, groupSize);
  const found: Contender[] = [
    {
      name: 'llmkit',
      async measure() {
        const runs = [
          { promptTokens, newTokens: 0, sequences: 1 },
          { promptTokens: 32, newTokens, sequences: 1 },
        ];
        const answer = await runGenerate(context, { model, threads, compute, runs });
        const [prefill, decode] = answer.runs;
        return {
          prefill: prefill && promptTokens / prefill.promptSeconds,
          decode: decode && 1 / decode.stepSeconds,
          peak: gigabytes(answer.peakBytes),
        };
      },
    },
  ];
  const { bench } = peers.llamaCpp;
  for (const type of bench === undefined ? [] : gguf) {
    const file = await models.gguf(shape, type);
    if (file === undefined) continue;
    found.push({
      name: `llama.cpp ${type}`,
      async measure() {
        const { peakBytes, ...rates } = await llamaBench(bench as string, { ...job, model: file });
        return { ...rates, peak: gigabytes(peakBytes) };
      },
    });
  }
  const { nodeLlamaCpp } = peers;
  if (node && nodeLlamaCpp) {
    const file = (await models.gguf(shape, 'Q4_0')) as string;
    found.push({
      name: 'node-llama-cpp Q4_0',
      async measure() {
        const { prefill, decode, peakBytes } = await nodeLlamaCpp.time({ ...job, model: file });
        return { prefill, decode, peak: gigabytes(peakBytes) };
      },
    });
  }
  return found;
}

/** Undefined stays undefined. */
export function gigabytes(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : bytes / 1e9;
}
