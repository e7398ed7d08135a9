import { LlmkitError } from '../errors.js';
import type { Command, Io } from './command.js';
import { resolveConfig } from './config.js';
import { paint, terminalIo } from './io.js';
import { type CliOptions, parseArguments } from './program.js';

/** Exit codes of the signals that end a run. */
const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** Lines an error takes at most. */
const MAX_ERROR_LINES = 12;

/** Runs one command line. @returns the process's exit code */
export async function run(argv: readonly string[]): Promise<number> {
  const interruption = watchSignals();
  try {
    const parsed = await parseArguments(argv);
    if ('text' in parsed) {
      process.stdout.write(parsed.text);
      return 0;
    }
    const { command, sources, options } = parsed;
    const config = await resolveConfig(command, sources);
    if (options.printConfig) return await printConfig(config, options);
    const io = terminalIo(options, interruption.signal);
    return await runCommand(command, config, io);
  } catch (error) {
    if (interruption.signal.aborted) {
      process.stderr.write('\nllmkit: interrupted\n');
      return interruption.code();
    }
    return report(error);
  }
}

/** Aborts on the first SIGINT or SIGTERM; the second ends the process at once. */
function watchSignals(): { readonly signal: AbortSignal; code(): number } {
  const controller = new AbortController();
  let code = 1;
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(code);
      code = SIGNAL_CODES[name];
      controller.abort(new LlmkitError('usage', 'interrupted'));
    });
  }
  return { signal: controller.signal, code: () => code };
}

/** A command that does not save when interrupted is left where it stands. */
async function runCommand(
  command: Command,
  config: Parameters<Command['run']>[0],
  io: Io,
): Promise<number> {
  const running = command.run(config, io);
  const code = await (command.savesWhenInterrupted
    ? running
    : Promise.race([running, aborted(io.signal)]));
  io.signal.throwIfAborted();
  return code;
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

async function printConfig(config: object, { json }: CliOptions): Promise<number> {
  const text = json
    ? `${JSON.stringify(config, null, 2)}\n`
    : (await import('./yaml.js')).stringify(config);
  process.stdout.write(text);
  return 0;
}

/** Says what went wrong on stderr. @returns 2 for usage and config errors, else 1 */
function report(error: unknown): number {
  const prefix = `llmkit: ${paint().red('error:')}`;
  process.stderr.write(`${prefix} ${describe(error)}\n`);
  const isUsage =
    error instanceof LlmkitError && (error.code === 'usage' || error.code === 'config');
  return isUsage ? 2 : 1;
}

function describe(error: unknown): string {
  if (error instanceof LlmkitError || isSystemError(error) || isGpuError(error)) {
    return clip(error.message);
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `${clip(stack, MAX_ERROR_LINES - 1)}\nThis is a bug in llmkit: please report it with these lines and the command.`;
}

/** What the operating system refused (no space, no permission): no bug of ours. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error;
}

/** What a GPU refused: no memory, mostly. */
function isGpuError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('LLMKIT_CUDA');
}

function clip(text: string, lines = MAX_ERROR_LINES): string {
  const all = text.trim().split('\n');
  return all.length <= lines ? all.join('\n') : [...all.slice(0, lines - 1), '…'].join('\n');
}
