import type { BenchContext } from '../context.js';
import { runGenerate } from '../llmkit/run.js';
import type { Contender, Work } from '../measure/work.js';
import { llamaCpps } from '../peers/index.js';
import { llamaBatchedBench } from '../peers/llama-cpp.js';
import { bytesPerToken, decodeLimit, threadsName } from './variants.js';

const SEQUENCES = 8;

/** Decoding of several sequences at once from 4-bit weights. */
export function batchedWorks(context: BenchContext): Work[] {
  const { shape, threads, groupSize, quick } = context.options;
  const newTokens = quick ? 8 : 32;
  return threads.map((count): Work => {
    const name = `decode ${newTokens}, B=${SEQUENCES}, int4 as int8, ${threadsName(count)}`;
    const limit = decodeLimit(bytesPerToken(shape, 'int4', groupSize), SEQUENCES);
    return {
      name,
      threads: count,
      metrics: [{ key: 'decode', work: name, unit: 'tok/s', better: 'higher', limit }],
      open: () => contenders(context, { threads: count, newTokens, sequences: SEQUENCES }),
    };
  });
}

async function contenders(
  context: BenchContext,
  job: { threads: number; newTokens: number; sequences: number },
): Promise<Contender[]> {
  const { models, options, peers } = context;
  const { threads, newTokens, sequences } = job;
  const model = await models.checkpoint(options.shape, 'int4', options.groupSize);
  const found: Contender[] = [
    {
      name: 'llmkit',
      async measure() {
        const runs = [{ promptTokens: 32, newTokens, sequences }];
        const answer = await runGenerate(context, { model, threads, compute: 'int8', runs });
        const [run] = answer.runs;
        return { decode: run && sequences / run.stepSeconds };
      },
    },
  ];
  for (const { name, batchedBench } of llamaCpps(peers)) {
    for (const type of batchedBench === undefined ? [] : (['Q4_0', 'Q4_K_M'] as const)) {
      const file = await models.gguf(options.shape, type);
      if (batchedBench === undefined || file === undefined) continue;
      const measure = async () => ({
        decode: await llamaBatchedBench(batchedBench, { ...job, model: file }),
      });
      found.push({ name: `${name} ${type}`, measure });
    }
  }
  return found;
}
