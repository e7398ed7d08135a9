import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { runChild } from './child.js';

/** Peaks of the machine with some threads, or of its GPU: GB/s read, and 1e9 operations per second. */
export interface Peaks {
  readonly read: number;
  /** GB/s of files that the system has in memory. */
  readonly files?: number;
  /** GB/s from the host's memory to the GPU's. */
  readonly upload?: number;
  readonly fp32: number;
  readonly bf16?: number;
  readonly int8?: number;
  readonly amx_int8?: number;
  readonly amx_bf16?: number;
}

/** Peaks by number of threads. */
export type Limits = Readonly<Record<string, Peaks>>;

/** Measures what the machine can do. */
export interface LimitsProgram {
  all(threads: readonly number[]): Promise<Limits>;
  /** Read bandwidth alone. */
  read(threads: number): Promise<Pick<Peaks, 'read'>>;
  /** How fast the files of a checkpoint are read. */
  files(threads: number, checkpoint: string): Promise<Pick<Peaks, 'files'>>;
}

/**
 * Builds bench/limits for this machine.
 *
 * @throws Error when CMake or the compiler is missing
 */
export async function buildLimits(root: string): Promise<LimitsProgram> {
  const folder = join(root, 'build', 'bench-limits');
  await runChild('cmake', ['-S', join(root, 'bench', 'limits'), '-B', folder]);
  await runChild('cmake', ['--build', folder]);
  const program = join(folder, 'limits');
  const run = async <T>(...args: readonly string[]): Promise<Readonly<Record<string, T>>> =>
    JSON.parse((await runChild(program, args)).stdout);
  const one = async <T>(what: string, threads: number, paths: readonly string[] = []) =>
    (await run<T>(what, String(threads), ...paths))[threads] as T;
  return {
    all: (threads) => run<Peaks>('all', threads.join(',')),
    read: (threads) => one<Pick<Peaks, 'read'>>('read', threads),
    files: (threads, checkpoint) =>
      one<Pick<Peaks, 'files'>>('files', threads, weightFiles(checkpoint)),
  };
}

function weightFiles(checkpoint: string): string[] {
  const names = readdirSync(checkpoint).filter((name) => name.endsWith('.safetensors'));
  return names.map((name) => join(checkpoint, name));
}

/** The arithmetic that bounds a product: the fastest unit that computes it. */
export type Arithmetic = 'f32' | 'bf16' | 'int8';

/** The best rate of an arithmetic, 1e9 operations per second. */
export function peakOf(peaks: Peaks, arithmetic: Arithmetic): number {
  const { fp32, bf16 = 0, int8 = 0, amx_int8: tilesInt8 = 0, amx_bf16: tilesBf16 = 0 } = peaks;
  // bf16 inputs can be multiplied as float32, where that is faster.
  if (arithmetic === 'f32') return fp32;
  return arithmetic === 'bf16' ? Math.max(fp32, bf16, tilesBf16) : Math.max(fp32, int8, tilesInt8);
}
