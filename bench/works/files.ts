import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchContext } from '../context.js';
import { runProgram } from '../llmkit/run.js';
import type { Contender, Work } from '../measure/work.js';
import { parameterCount } from '../models/shape.js';
import { llamaFirstToken, llamaQuantize } from '../peers/llama-cpp.js';
import { gigabytes } from './generation.js';
import { bytesPerToken, threadsName } from './variants.js';

/** Quantizing a bf16 checkpoint, and opening a 4-bit one. */
export function fileWorks(context: BenchContext): Work[] {
  const { models, options } = context;
  const { shape, groupSize } = options;
  const threads = Math.max(...options.threads);
  const suffix = threadsName(threads);
  return [
    {
      name: `quantize to int4, ${suffix}`,
      threads,
      metrics: [
        {
          key: 'rate',
          work: `quantize bf16 to int4, ${suffix}`,
          unit: 'GB/s in',
          better: 'higher',
          limit: ({ files }) => files,
        },
      ],
      reads: () => models.checkpoint(shape, 'bf16', groupSize),
      open: () => quantizers(context, threads),
    },
    {
      name: `open int4, ${suffix}`,
      threads,
      metrics: [
        {
          key: 'load',
          work: `load int4, ${suffix}`,
          unit: 's',
          better: 'lower',
          limit: ({ files }) => files && bytesPerToken(shape, 'int4', groupSize) / (1e9 * files),
        },
        { key: 'first', work: `open int4 to first token, ${suffix}`, unit: 's', better: 'lower' },
        { key: 'peak', work: `memory of a loaded int4, ${suffix}`, unit: 'GB', better: 'lower' },
      ],
      reads: () => models.checkpoint(shape, 'int4', groupSize),
      open: () => openers(context, threads),
    },
  ];
}

async function quantizers(context: BenchContext, threads: number): Promise<Contender[]> {
  const { models, options, peers } = context;
  const { shape, groupSize } = options;
  const source = await models.checkpoint(shape, 'bf16', groupSize);
  const bytes = 2e-9 * parameterCount(shape);
  const target = join(models.folder, 'quantized');
  const group = ['--group-size', String(groupSize), '--threads', String(threads)];
  const args = ['quantize', source, '-o', target, '--scheme', 'int4', ...group, '--json'];
  const found: Contender[] = [
    {
      name: 'llmkit',
      async measure() {
        const { stdout } = await runProgram(context, args);
        rmSync(target, { recursive: true });
        return { rate: bytes / JSON.parse(stdout).seconds };
      },
    },
  ];
  const { quantize } = peers.llamaCpp;
  if (quantize !== undefined) {
    const file = (await models.gguf(shape, 'BF16')) as string;
    found.push({
      name: 'llama-quantize Q4_0',
      async measure() {
        const job = { source: file, target: `${target}.gguf`, type: 'Q4_0', threads };
        const seconds = await llamaQuantize(quantize, job);
        rmSync(job.target);
        return { rate: bytes / seconds };
      },
    });
  }
  return found;
}

async function openers(context: BenchContext, threads: number): Promise<Contender[]> {
  const { models, options, peers } = context;
  const model = await models.checkpoint(options.shape, 'int4', options.groupSize);
  const flags = ['--max-new-tokens', '1', '--backend', 'native', '--json'];
  const args = ['generate', model, '--prompt', 'The', '--threads', String(threads), ...flags];
  const found: Contender[] = [
    {
      name: 'llmkit',
      async measure() {
        const { stdout, seconds, peakBytes } = await runProgram(context, args);
        const load = JSON.parse(stdout).timings.load_ms / 1000;
        return { load, first: seconds, peak: gigabytes(peakBytes) };
      },
    },
  ];
  const file = await models.gguf(options.shape, 'Q4_0');
  const { bench } = peers.llamaCpp;
  if (bench !== undefined && file !== undefined) {
    found.push({
      name: 'llama.cpp Q4_0',
      async measure() {
        const { seconds, peakBytes } = await llamaFirstToken(bench, file, threads);
        return { first: seconds, peak: gigabytes(peakBytes) };
      },
    });
  }
  const { nodeLlamaCpp } = peers;
  if (nodeLlamaCpp && file !== undefined) {
    const job = { model: file, threads, promptTokens: 1, newTokens: 1 };
    found.push({
      name: 'node-llama-cpp Q4_0',
      measure: async () => ({ load: (await nodeLlamaCpp.time(job)).loadSeconds }),
    });
  }
  return found;
}
