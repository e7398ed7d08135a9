import { runChild } from '../measure/child.js';
import { findTool } from '../measure/tools.js';

/** The programs of a llama.cpp on PATH, each undefined where it is not there. */
export interface LlamaCpp {
  readonly bench: string | undefined;
  readonly batchedBench: string | undefined;
  readonly perplexity: string | undefined;
  readonly quantize: string | undefined;
}

/** Looks llama.cpp's programs up on PATH. */
export function findLlamaCpp(): LlamaCpp {
  return {
    bench: findTool('llama-bench'),
    batchedBench: findTool('llama-batched-bench'),
    perplexity: findTool('llama-perplexity'),
    quantize: findTool('llama-quantize'),
  };
}

interface BenchRow {
  readonly n_prompt: number;
  readonly n_gen: number;
  readonly avg_ts: number;
}

/** What llama-bench measures: tokens per second after a warm-up. */
export async function llamaBench(
  tool: string,
  job: { model: string; threads: number; promptTokens: number; newTokens: number },
) {
  const { model, threads, promptTokens, newTokens } = job;
  const sizes = ['-p', String(promptTokens), '-n', String(newTokens)];
  const args = ['-m', model, '-t', String(threads), ...sizes, '-r', '1', '-o', 'json'];
  const { stdout, peakBytes } = await runChild(tool, args);
  const rows: BenchRow[] = JSON.parse(stdout);
  const rate = (isDecode: boolean) => rows.find((row) => row.n_gen > 0 === isDecode)?.avg_ts;
  return { prefill: rate(false), decode: rate(true), peakBytes };
}

/** Seconds from nothing to one token of output, and the memory held. */
export async function llamaFirstToken(tool: string, model: string, threads: number) {
  const once = ['-p', '0', '-n', '1', '-r', '1', '--no-warmup'];
  const { seconds, peakBytes } = await runChild(tool, [
    '-m',
    model,
    '-t',
    String(threads),
    ...once,
  ]);
  return { seconds, peakBytes };
}

/** Tokens per second of several sequences together. */
export async function llamaBatchedBench(
  tool: string,
  job: { model: string; threads: number; newTokens: number; sequences: number },
): Promise<number> {
  const { model, threads, newTokens, sequences } = job;
  const sizes = ['-npp', '32', '-ntg', String(newTokens), '-npl', String(sequences), '-c', '4096'];
  const args = ['-m', model, '-t', String(threads), ...sizes, '--output-format', 'jsonl'];
  const { stdout } = await runChild(tool, args);
  const line = stdout.split('\n').find((text) => text.startsWith('{'));
  return JSON.parse(line ?? '{}').speed_tg;
}

/** Tokens per second of scoring a text in windows. */
export async function llamaPerplexity(
  tool: string,
  job: { model: string; threads: number; text: string; windows: number; windowTokens: number },
): Promise<number> {
  const { model, threads, text, windows, windowTokens } = job;
  const window = String(windowTokens);
  const sizes = ['-c', window, '-b', window, '--chunks', String(windows), '-v'];
  const { stdout, stderr } = await runChild(tool, [
    ...['-m', model, '-t', String(threads), '-f', text, ...sizes],
  ]);
  const times = /prompt eval time =\s*([\d.]+) ms \/\s*(\d+) tokens/.exec(stdout + stderr);
  if (!times) throw new Error('llama-perplexity: it printed no times');
  return (1000 * Number(times[2])) / Number(times[1]);
}

/** Seconds of quantizing a file, reading and writing included. */
export async function llamaQuantize(
  tool: string,
  job: { source: string; target: string; type: string; threads: number },
): Promise<number> {
  const { source, target, type, threads } = job;
  const { stdout, stderr } = await runChild(tool, [source, target, type, String(threads)]);
  const time = /quantize time\s*=\s*([\d.]+) ms/.exec(stdout + stderr);
  if (!time) throw new Error('llama-quantize: it printed no time');
  return Number(time[1]) / 1000;
}
