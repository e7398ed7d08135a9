import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { parseShape, type Shape } from './models/shape.js';

/** Where llmkit and its peers compute. */
export type Benchmark = 'cpu' | 'cuda';

/** What a run of the benchmark measures. */
export interface BenchOptions {
  readonly benchmark: Benchmark;
  /** File for the rows as JSON. */
  readonly json: string | undefined;
  /** Works whose name matches. */
  readonly only: RegExp;
  /** One round, short texts. */
  readonly quick: boolean;
  /** The shape of the inference and LoRA works. */
  readonly shape: Shape;
  /** Those whose works on a GPU follow, where there is room for their models. */
  readonly furtherShapes: readonly Shape[];
  readonly threads: readonly number[];
  readonly groupSize: number;
  /** Turns of each contender. */
  readonly rounds: number;
  readonly peers: boolean;
  /** Where models with random weights are kept. */
  readonly cache: string;
}

export const USAGE = `npm run bench -- cpu [options]
npm run bench -- cuda [options]
  --shape NAME       tinyllama (left out), tinyllama-quarter, llama-8b, qwen2.5-0.5b, llama-15m, llama-24m,
                     tiny, or HIDDEN/MLP/LAYERS/HEADS/KV_HEADS/VOCAB[/tied]; cuda, left out and not quick:
                     tinyllama, then llama-8b where disk and memory have room
  --threads 1,2      cpu: thread counts (left out: 1 and 2)
  --group-size N     weights of int4 that share one scale (left out: 32)
  --only REGEX       works whose name matches; --list shows the names
  --rounds N         turns of each contender, of which the median counts (left out: 3)
  --quick            one turn, fewer tokens
  --no-peers         llmkit alone
  --cache DIR        where the random models are kept (left out: bench/.cache)
  --json FILE        the rows for programs
  --list             the names of the works, and nothing is measured
`;

/** Parses the words after `bench`. @throws Error that says what is wrong */
export function parseOptions(args: readonly string[]): BenchOptions & { readonly list: boolean } {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: 'string' },
      only: { type: 'string', default: '' },
      quick: { type: 'boolean', default: false },
      shape: { type: 'string' },
      threads: { type: 'string', default: '1,2' },
      'group-size': { type: 'string', default: '32' },
      rounds: { type: 'string' },
      'no-peers': { type: 'boolean', default: false },
      cache: { type: 'string', default: join('bench', '.cache') },
      list: { type: 'boolean', default: false },
    },
  });
  const [benchmark] = positionals;
  if (positionals.length !== 1 || (benchmark !== 'cpu' && benchmark !== 'cuda')) {
    throw new Error(`expected one benchmark, cpu or cuda, got ${positionals.join(' ') || 'none'}`);
  }
  return {
    benchmark,
    json: values.json,
    only: new RegExp(values.only),
    quick: values.quick,
    shape: parseShape(values.shape ?? 'tinyllama'),
    furtherShapes:
      benchmark === 'cuda' && values.shape === undefined && !values.quick
        ? [parseShape('llama-8b')]
        : [],
    threads: values.threads.split(',').map((text) => positive('--threads', text)),
    groupSize: positive('--group-size', values['group-size']),
    rounds: positive('--rounds', values.rounds ?? (values.quick ? '1' : '3')),
    peers: !values['no-peers'],
    cache: resolve(values.cache),
    list: values.list,
  };
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`${flag}: expected a whole number above 0, got ${text}`);
}
