import type { BenchContext } from '../context.js';
import type { GenerateRun } from '../llmkit/generate.js';
import { runGenerate } from '../llmkit/run.js';
import type { Metric, Work } from '../measure/work.js';
import { parseShape, type Shape } from '../models/shape.js';
import { llamaBench } from '../peers/llama-cpp.js';

/** How much more a larger job costs: the quotient of two runs. */
export function scalingWorks(context: BenchContext): Work[] {
  const { shape, threads, quick } = context.options;
  const [fewest, most] = [Math.min(...threads), Math.max(...threads)];
  const tokens = quick ? 64 : 512;
  const small = shape.name === 'tinyllama' ? parseShape('tinyllama-quarter') : undefined;
  const job = { shape, threads: most, tokens };
  return [
    ...(small ? [growth(context, 'model x4', [{ ...job, shape: small }, job])] : []),
    growth(context, 'sequence x4', [job, { ...job, tokens: Math.min(4 * tokens, 2000) }]),
    ...(most > fewest
      ? [growth(context, `threads ${fewest} to ${most}`, [{ ...job, threads: fewest }, job])]
      : []),
    batchGrowth(context, most),
  ];
}

interface Job {
  readonly shape: Shape;
  readonly threads: number;
  readonly tokens: number;
}

/** Time of a prompt and of a decoded token in the second job over the first's. */
function growth(context: BenchContext, what: string, [first, second]: [Job, Job]): Work {
  const more = what.startsWith('threads') ? 'speed' : 'time';
  const metric = (key: string, work: string): Metric => ({
    key,
    work: `${work} ${more}, ${what}, int4 as int8`,
    unit: 'x',
    better: more === 'speed' ? 'higher' : 'lower',
  });
  const isLonger = first.tokens !== second.tokens;
  return {
    name: `scaling: ${what}`,
    threads: second.threads,
    // Decoding is measured after a short prompt, so a longer one does not change it.
    metrics: [metric('prefill', 'prefill'), ...(isLonger ? [] : [metric('decode', 'decode')])],
    async open() {
      const before = await measurers(context, first);
      const after = await measurers(context, second);
      return before.map(({ name, seconds }, i) => ({
        name,
        async measure() {
          const small = await seconds();
          const large = await (after[i] as Measurer).seconds();
          const quotient = (a: number, b: number) => (more === 'speed' ? a / b : b / a);
          return {
            prefill: quotient(small.prefill, large.prefill),
            decode: quotient(small.decode, large.decode),
          };
        },
      }));
    },
  };
}

interface Measurer {
  readonly name: string;
  /** Seconds of the prompt, and of one decoded token. */
  seconds(): Promise<{ prefill: number; decode: number }>;
}

async function measurers(
  context: BenchContext,
  { shape, threads, tokens }: Job,
): Promise<Measurer[]> {
  const { models, options, peers } = context;
  const model = await models.checkpoint(shape, 'int4', options.groupSize);
  const newTokens = options.quick ? 8 : 32;
  const runs: GenerateRun[] = [
    { promptTokens: tokens, newTokens: 0, sequences: 1 },
    { promptTokens: 32, newTokens, sequences: 1 },
  ];
  const own: Measurer = {
    name: 'llmkit',
    async seconds() {
      const answer = await runGenerate(context, { model, threads, compute: 'int8', runs });
      const [prefill, decode] = answer.runs;
      return { prefill: prefill?.promptSeconds ?? 0, decode: decode?.stepSeconds ?? 0 };
    },
  };
  const { bench } = peers.llamaCpp;
  const file = await models.gguf(shape, 'Q4_0');
  if (bench === undefined || file === undefined) return [own];
  const job = { model: file, threads, promptTokens: tokens, newTokens };
  return [
    own,
    {
      name: 'llama.cpp Q4_0',
      async seconds() {
        const { prefill = 0, decode = 0 } = await llamaBench(bench, job);
        return { prefill: tokens / prefill, decode: 1 / decode };
      },
    },
  ];
}

const SEQUENCES = 8;

/** Tokens per second of a batch over one sequence's: the weights are read once for all. */
function batchGrowth(context: BenchContext, threads: number): Work {
  const { models, options } = context;
  const newTokens = options.quick ? 8 : 32;
  return {
    name: `scaling: batch x${SEQUENCES}`,
    threads,
    metrics: [
      {
        key: 'speed',
        work: `decode speed, batch x${SEQUENCES}, int4 as int8`,
        unit: 'x',
        better: 'higher',
      },
    ],
    async open() {
      const model = await models.checkpoint(options.shape, 'int4', options.groupSize);
      const runs = [1, SEQUENCES].map((sequences) => ({ promptTokens: 32, newTokens, sequences }));
      return [
        {
          name: 'llmkit',
          async measure() {
            const answer = await runGenerate(context, { model, threads, compute: 'int8', runs });
            const [one, many] = answer.runs;
            return { speed: one && many && (SEQUENCES * one.stepSeconds) / many.stepSeconds };
          },
        },
      ];
    },
  };
}
