import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchContext } from '../context.js';
import { runGenerate, runProgram } from '../llmkit/run.js';
import type { Peaks } from '../measure/limits.js';
import type { Contender, Work } from '../measure/work.js';
import type { Weights } from '../models/cache.js';
import { parameterCount } from '../models/shape.js';
import { gigabytes } from '../works/generation.js';
import { bytesPerToken, cacheBytes, decodeLimit, prefillLimit } from '../works/variants.js';
import type { PyTorchCuda } from './pytorch.js';

/** The host's threads matter little: the GPU computes. */
export const HOST_THREADS = 4;

/** Works of whole models on a GPU: generation, quantizing and loading. */
export function modelWorks(context: BenchContext, pyTorch: PyTorchCuda | undefined): Work[] {
  const { shape, groupSize, quick } = context.options;
  const promptTokens = quick ? 128 : 512;
  const newTokens = quick ? 32 : 256;
  // Half of the new tokens are there on average.
  const kept = cacheBytes(shape, promptTokens + newTokens / 2);
  const generation = (['int4', 'nf4', 'bf16'] as const).map((weights): Work => {
    const name = `${shape.name} ${weights}`;
    return {
      name: `generate ${name}`,
      threads: HOST_THREADS,
      metrics: [
        {
          key: 'decode',
          work: `decode ${newTokens} after ${promptTokens}, ${name}`,
          unit: 'tok/s',
          better: 'higher',
          limit: decodeLimit(bytesPerToken(shape, weights, groupSize) + kept),
        },
        {
          key: 'prefill',
          work: `prefill ${promptTokens}, ${name}`,
          unit: 'tok/s',
          better: 'higher',
          limit: prefillLimit(shape, 'bf16'),
        },
        { key: 'load', work: `load ${name}`, unit: 'GB/s', better: 'higher', limit: passLimit },
      ],
      reads: () => context.models.checkpoint(shape, weights, groupSize),
      open: () => generators(context, { weights, promptTokens, newTokens, pyTorch }),
    };
  });
  return [...generation, quantizing(context)];
}

/** Whatever is loaded or quantized is read from files and passes from the host to the GPU. */
function passLimit({ upload, files }: Peaks): number | undefined {
  const known = [upload, files].filter((rate) => rate !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

interface Generation {
  readonly weights: Weights;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly pyTorch: PyTorchCuda | undefined;
}

async function generators(
  context: BenchContext,
  { weights, promptTokens, newTokens, pyTorch }: Generation,
): Promise<Contender[]> {
  const { shape, groupSize } = context.options;
  const model = await context.models.checkpoint(shape, weights, groupSize);
  const bytes = bytesPerToken(shape, weights, groupSize);
  const runs = [
    { promptTokens, newTokens: 0, sequences: 1 },
    { promptTokens, newTokens, sequences: 1 },
  ];
  const found: Contender[] = [
    {
      name: 'llmkit',
      async measure() {
        const job = { model, threads: HOST_THREADS, compute: 'bf16', runs } as const;
        const answer = await runGenerate(context, job);
        const [prefill, decode] = answer.runs;
        return {
          decode: decode && 1 / decode.stepSeconds,
          prefill: prefill && promptTokens / prefill.promptSeconds,
          load: (gigabytes(bytes) ?? 0) / answer.loadSeconds,
        };
      },
    },
  ];
  if (pyTorch === undefined) return found;
  const base = await context.models.checkpoint(shape, 'bf16', groupSize);
  const job = { model: base, promptTokens, newTokens };
  const peers = [{ name: 'transformers bf16, compiled', quantized: false }];
  if (pyTorch.hasBitsAndBytes)
    peers.push({ name: 'transformers + bitsandbytes nf4', quantized: true });
  for (const { name, quantized } of peers) {
    found.push({ name, measure: () => pyTorch.generate({ ...job, quantized }) });
  }
  return found;
}

/** A bf16 checkpoint to 4 bits, from a warm page cache. */
function quantizing(context: BenchContext): Work {
  const { shape, groupSize } = context.options;
  const base = () => context.models.checkpoint(shape, 'bf16', groupSize);
  return {
    name: `quantize ${shape.name}`,
    threads: HOST_THREADS,
    metrics: [
      {
        key: 'rate',
        work: `quantize ${shape.name} to nf4`,
        unit: 'GB/s in',
        better: 'higher',
        limit: passLimit,
      },
    ],
    reads: base,
    async open() {
      const source = await base();
      const target = join(context.models.folder, 'quantized-cuda');
      const args = ['quantize', source, '-o', target, '--scheme', 'nf4', '--json'];
      return [
        {
          name: 'llmkit',
          async measure() {
            const { stdout } = await runProgram(context, [...args, '--device', 'cuda']);
            rmSync(target, { recursive: true });
            return { rate: (2e-9 * parameterCount(shape)) / JSON.parse(stdout).seconds };
          },
        },
      ];
    },
  };
}
