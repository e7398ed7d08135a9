import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';

/** What a process printed, took and held. */
export interface ChildResult {
  readonly stdout: string;
  readonly stderr: string;
  /** From its start to its end. */
  readonly seconds: number;
  /** From its start to the first byte it printed; undefined when it printed nothing. */
  readonly firstOutputSeconds: number | undefined;
  /** Most memory it held at once, mapped files included; undefined where the system does not say. */
  readonly peakBytes: number | undefined;
}

/** Variables that are added to this process's; undefined takes one away. */
export type Environment = Readonly<Record<string, string | undefined>>;

const POLL_MS = 20;

/**
 * Runs a program to its end.
 *
 * @throws Error with the end of what it printed when it fails
 */
export async function runChild(
  command: string,
  args: readonly string[],
  env: Environment = {},
): Promise<ChildResult> {
  const begunMs = performance.now();
  const child = spawn(command, args, {
    env: { ...process.env, NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const memory = watchMemory(child.pid);
  let firstMs: number | undefined;
  child.stdout.once('readable', () => {
    firstMs = performance.now();
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  try {
    const [code, stdout, stderr] = await Promise.all([
      ended,
      text(child.stdout),
      text(child.stderr),
    ]);
    const seconds = (performance.now() - begunMs) / 1000;
    if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${lastLines(stdout + stderr)}`);
    const firstOutputSeconds = firstMs === undefined ? undefined : (firstMs - begunMs) / 1000;
    return { stdout, stderr, seconds, firstOutputSeconds, peakBytes: memory.peakBytes() };
  } finally {
    memory.stop();
  }
}

/** Reads a process's high-water mark while it lives: Linux forgets it with the process. */
function watchMemory(pid: number | undefined) {
  let peak: number | undefined;
  const timer = setInterval(() => {
    peak = highWaterMark(pid) ?? peak;
  }, POLL_MS);
  return { peakBytes: () => peak, stop: () => clearInterval(timer) };
}

function highWaterMark(pid: number | undefined): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
    return kilobytes === undefined ? undefined : 1024 * Number(kilobytes);
  } catch {
    return undefined;
  }
}

function lastLines(output: string): string {
  return output.trim().split('\n').slice(-8).join('\n') || 'it failed';
}
