import { text as readAll } from 'node:stream/consumers';
import { Chalk, chalkStderr } from 'chalk';
import type { Io, Progress } from './command.js';
import type { CliOptions } from './program.js';
import { silentProgress, startProgress } from './progress.js';

/** The process's streams as a command's {@link Io}. */
export function terminalIo(options: CliOptions, signal: AbortSignal): Io {
  const { json, quiet, verbose } = options;
  const isTerminal = process.stderr.isTTY === true;
  const line = (text: string) => {
    process.stderr.write(isTerminal ? `\r\x1b[K${text}\n` : `${text}\n`);
  };
  return {
    json,
    quiet,
    verbose,
    signal,
    interactive: process.stdin.isTTY === true && process.stdout.isTTY === true,
    stdout: (text) => {
      process.stdout.write(text);
    },
    printJson: (document) => {
      process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
    },
    note: (text) => {
      if (!quiet) line(text);
    },
    warn: (text) => line(`llmkit: ${paint().yellow('warning:')} ${text}`),
    debug: (text) => {
      if (verbose) line(text);
    },
    progress: (label, total, unit): Progress =>
      quiet
        ? silentProgress
        : startProgress({ stream: process.stderr, isTerminal }, label, total, unit),
    readStdin: () => readAll(process.stdin),
  };
}

/** Colours for stderr; none under NO_COLOR and where stderr is no terminal. */
export function paint(): InstanceType<typeof Chalk> {
  return new Chalk({ level: process.env.NO_COLOR ? 0 : chalkStderr.level });
}
