import type { BenchContext } from '../context.js';
import { runGenerate } from '../llmkit/run.js';
import type { Contender, Metric, Work } from '../measure/work.js';
import { llamaCpps } from '../peers/index.js';
import { llamaBench } from '../peers/llama-cpp.js';
import { withoutInvariance } from './invariance.js';
import { decodeRun, type GenerationSizes, promptRun } from './sizes.js';
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

function generationSizes({ options }: BenchContext): Omit<GenerationSizes, 'threads'> {
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
  variant: Variant,
  sizes: GenerationSizes,
): Promise<Contender[]> {
  return [
    await ownContender(context, variant, sizes),
    ...(await withoutInvariance(context, variant, sizes)),
    ...(await llamaContenders(context, variant, sizes)),
    ...(await nodeContenders(context, variant, sizes)),
  ];
}

async function ownContender(
  context: BenchContext,
  { weights, compute }: Variant,
  { threads, promptTokens, newTokens }: GenerationSizes,
): Promise<Contender> {
  const { shape, groupSize } = context.options;
  const model = await context.models.checkpoint(shape, weights, groupSize);
  return {
    name: 'llmkit',
    async measure() {
      const runs = [promptRun(promptTokens), decodeRun(newTokens)];
      const answer = await runGenerate(context, { model, threads, compute, runs });
      const [prefill, decode] = answer.runs;
      return {
        prefill: prefill && promptTokens / prefill.promptSeconds,
        decode: decode && 1 / decode.stepSeconds,
        peak: gigabytes(answer.peakBytes),
      };
    },
  };
}

async function llamaContenders(
  { options, models, peers }: BenchContext,
  { gguf }: Variant,
  sizes: GenerationSizes,
): Promise<Contender[]> {
  const found: Contender[] = [];
  for (const { name, bench } of llamaCpps(peers)) {
    for (const type of bench === undefined ? [] : gguf) {
      const model = await models.gguf(options.shape, type);
      if (bench === undefined || model === undefined) continue;
      found.push({
        name: `${name} ${type}`,
        async measure() {
          const { peakBytes, ...rates } = await llamaBench(bench, { ...sizes, model });
          return { ...rates, peak: gigabytes(peakBytes) };
        },
      });
    }
  }
  return found;
}

async function nodeContenders(
  { options, models, peers }: BenchContext,
  { node }: Variant,
  sizes: GenerationSizes,
): Promise<Contender[]> {
  const { nodeLlamaCpp } = peers;
  if (!node || !nodeLlamaCpp) return [];
  const model = (await models.gguf(options.shape, 'Q4_0')) as string;
  return [
    {
      name: 'node-llama-cpp Q4_0',
      async measure() {
        const { prefill, decode, peakBytes } = await nodeLlamaCpp.time({ ...sizes, model });
        return { prefill, decode, peak: gigabytes(peakBytes) };
      },
    },
  ];
}

/** Undefined stays undefined. */
export function gigabytes(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : bytes / 1e9;
}
