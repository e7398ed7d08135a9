import { runChild } from '../measure/child.js';
import { findTool } from '../measure/tools.js';

/** A program, and what it is always given. */
export interface Program {
  readonly path: string;
  readonly flags: readonly string[];
}

/** The programs of a llama.cpp, each undefined where it is not there. */
export interface LlamaCpp {
  /** As rows name it. */
  readonly name: string;
  readonly bench: Program | undefined;
  readonly batchedBench: Program | undefined;
  readonly perplexity: Program | undefined;
  readonly quantize: Program | undefined;
}

/** Looks llama.cpp's programs up on PATH. */
export function findLlamaCpp(): LlamaCpp {
  return {
    name: 'llama.cpp',
    bench: findProgram('llama-bench'),
    batchedBench: findProgram('llama-batched-bench'),
    perplexity: findProgram('llama-perplexity'),
    quantize: findProgram('llama-quantize'),
  };
}

/**
 * ik_llama.cpp, whose programs have llama.cpp's names: LLMKIT_BENCH_IK_LLAMA is the folder that they are in. At load
 * they bring weights into the layout that its fastest kernels read (`-rtr`).
 *
 * @throws Error when there is no llama-bench
 */
export async function openIkLlamaCpp(): Promise<LlamaCpp> {
  const folder = process.env.LLMKIT_BENCH_IK_LLAMA;
  if (!folder) throw new Error('LLMKIT_BENCH_IK_LLAMA names no folder');
  const bench = findProgram('llama-bench', { folders: [folder], flags: ['-rtr', '1'] });
  if (bench === undefined) throw new Error(`no llama-bench in ${folder}`);
  return {
    name: 'ik_llama.cpp',
    bench,
    batchedBench: findProgram('llama-batched-bench', { folders: [folder], flags: ['-rtr'] }),
    perplexity: undefined,
    quantize: undefined,
  };
}

function findProgram(
  name: string,
  { folders, flags = [] }: { folders?: readonly string[]; flags?: readonly string[] } = {},
): Program | undefined {
  const path = findTool(name, folders);
  return path === undefined ? undefined : { path, flags };
}

function run({ path, flags }: Program, args: readonly string[]) {
  return runChild(path, [...flags, ...args]);
}

interface BenchRow {
  readonly n_prompt: number;
  readonly n_gen: number;
  readonly avg_ts: number;
}

/** What llama-bench measures: tokens per second after a warm-up. */
export async function llamaBench(
  program: Program,
  job: { model: string; threads: number; promptTokens: number; newTokens: number },
) {
  const { model, threads, promptTokens, newTokens } = job;
  const sizes = ['-p', String(promptTokens), '-n', String(newTokens)];
  const args = ['-m', model, '-t', String(threads), ...sizes, '-r', '1', '-o', 'json'];
  const { stdout, peakBytes } = await run(program, args);
  const rows: BenchRow[] = JSON.parse(stdout);
  const rate = (isDecode: boolean) => rows.find((row) => row.n_gen > 0 === isDecode)?.avg_ts;
  return { prefill: rate(false), decode: rate(true), peakBytes };
}

/** Seconds from nothing to one token of output, and the memory held. */
export async function llamaFirstToken(program: Program, model: string, threads: number) {
  const once = ['-p', '0', '-n', '1', '-r', '1', '--no-warmup'];
  const { seconds, peakBytes } = await run(program, ['-m', model, '-t', String(threads), ...once]);
  return { seconds, peakBytes };
}

/** Tokens per second of several sequences together. */
export async function llamaBatchedBench(
  program: Program,
  job: { model: string; threads: number; newTokens: number; sequences: number },
): Promise<number> {
  const { model, threads, newTokens, sequences } = job;
  const sizes = ['-npp', '32', '-ntg', String(newTokens), '-npl', String(sequences), '-c', '4096'];
  const { stdout, stderr } = await run(program, ['-m', model, '-t', String(threads), ...sizes]);
  // The table for people: forks write no other, and not all of them to stdout.
  const table = (stdout + stderr).split('\n').filter((line) => line.startsWith('|'));
  const [names = [], figures = []] = [0, -1].map((i) => table.at(i)?.split('|').map(trimmed));
  const rate = Number(figures[names.indexOf('S_TG t/s')]);
  if (Number.isNaN(rate)) throw new Error('llama-batched-bench: it printed no table');
  return rate;
}

function trimmed(text: string): string {
  return text.trim();
}

/** Tokens per second of scoring a text in windows. */
export async function llamaPerplexity(
  program: Program,
  job: { model: string; threads: number; text: string; windows: number; windowTokens: number },
): Promise<number> {
  const { model, threads, text, windows, windowTokens } = job;
  const window = String(windowTokens);
  const sizes = ['-c', window, '-b', window, '--chunks', String(windows), '-v'];
  const args = ['-m', model, '-t', String(threads), '-f', text, ...sizes];
  const { stdout, stderr } = await run(program, args);
  const times = /prompt eval time =\s*([\d.]+) ms \/\s*(\d+) tokens/.exec(stdout + stderr);
  if (!times) throw new Error('llama-perplexity: it printed no times');
  return (1000 * Number(times[2])) / Number(times[1]);
}

/** Seconds of quantizing a file, reading and writing included. */
export async function llamaQuantize(
  program: Program,
  job: { source: string; target: string; type: string; threads: number },
): Promise<number> {
  const { source, target, type, threads } = job;
  const { stdout, stderr } = await run(program, [source, target, type, String(threads)]);
  const time = /quantize time\s*=\s*([\d.]+) ms/.exec(stdout + stderr);
  if (!time) throw new Error('llama-quantize: it printed no time');
  return Number(time[1]) / 1000;
}
