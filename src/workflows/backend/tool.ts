import { spawn } from 'node:child_process';
import { LlmkitError } from '../../errors.js';

/** A program, and what its command line begins with. */
export interface Tool {
  readonly command: string;
  readonly args: readonly string[];
  /** Said where the program is missing: what it is needed for, and what to do. */
  readonly missing: string;
}

/** How a program is run. */
export interface ToolOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Ends the program, and all that it started, when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** Lines of a failed program's output that its error repeats. */
const LINES_SHOWN = 6;
/** Characters kept of what a program prints. */
const MAX_KEPT = 1 << 20;

/**
 * Runs a program to its end, in a process group of its own.
 *
 * @returns what it printed on stdout
 * @throws LlmkitError `unsupported` where it is missing or fails, with the last lines it printed; the signal's
 *   reason when aborted, after the program has ended
 */
export async function runTool(
  { command, args: first, missing }: Tool,
  args: readonly string[],
  { cwd, env, signal }: ToolOptions = {},
): Promise<string> {
  signal?.throwIfAborted();
  const child = spawn(command, [...first, ...args], {
    ...(cwd !== undefined && { cwd }),
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const printed = { stdout: '', both: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed.stdout = (printed.stdout + text).slice(-MAX_KEPT);
    printed.both = (printed.both + text).slice(-MAX_KEPT);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printed.both = (printed.both + text).slice(-MAX_KEPT);
  });
  const stop = () => endGroup(child.pid);
  signal?.addEventListener('abort', stop, { once: true });
  process.once('exit', stop);
  try {
    const [code, ender] = await ended(child, missing);
    signal?.throwIfAborted();
    if (code === 0) return printed.stdout;
    const how = ender === null ? `ended with exit code ${code}` : `was ended by ${ender}`;
    const words = [command, ...first, ...args.slice(0, 1)].join(' ');
    throw new LlmkitError('unsupported', `\`${words}\` ${how}:\n${lastLines(printed.both)}`);
  } finally {
    signal?.removeEventListener('abort', stop);
    process.off('exit', stop);
  }
}

/** Its exit code and the signal that ended it, once all its output has been read. */
function ended(
  child: ReturnType<typeof spawn>,
  missing: string,
): Promise<[code: number | null, signal: NodeJS.Signals | null]> {
  return new Promise((resolve, reject) => {
    child.once('error', (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'ENOENT' ? 'is not found' : `does not start: ${cause.message}`;
      const command = child.spawnfile;
      reject(new LlmkitError('unsupported', `\`${command}\` ${why}; ${missing}`, { cause }));
    });
    child.once('close', (code, signal) => resolve([code, signal]));
  });
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}

function lastLines(text: string): string {
  const lines = text.split('\n').map((line) => line.trimEnd());
  return lines
    .filter((line) => line !== '')
    .slice(-LINES_SHOWN)
    .map((line) => `  ${line.slice(0, 300)}`)
    .join('\n');
}
