import type { z } from 'zod';
import type { DeviceChoice } from '../tensor/backends/device-choice.js';
import type { ComputeChoice } from '../tensor/compute.js';

/** Keys every command has: the global flags, also allowed in its config file. */
export interface GlobalConfig {
  readonly backend?: string | undefined;
  readonly device: DeviceChoice;
  readonly threads?: number | undefined;
  readonly compute: ComputeChoice;
  readonly seed: number;
}

/**
 * A flag for one key of the schema. Its name is the key with dashes (`max_new_tokens` →
 * `--max-new-tokens`), how its text is read follows from the key's schema: numbers, choices,
 * lists (commas), records (`--data NAME=PATH`, repeated). A boolean whose default is true gets
 * `--no-<name>`.
 */
export interface Flag {
  readonly description: string;
  /** One letter, without the dash: `o`. */
  readonly short?: string;
  /** Name of the value in the help, `N` or `DIR`; left out for booleans. */
  readonly value?: string;
  /** A list given by repeating the flag, its texts kept whole (`--stop A --stop B`). */
  readonly repeat?: boolean;
}

/** A positional argument: fills `key` of the config. */
export interface Argument {
  readonly key: string;
  /** Shown in the help, in capitals. */
  readonly name: string;
  readonly description: string;
  /**
   * `model`: left out, it is the current folder's checkpoint, else `model:` of llmkit.yaml.
   * `config`: the path of the config file (then `key` is ignored, and `--set KEY=VALUE` exists).
   * `text` (default): required unless its schema has a default or is optional.
   */
  readonly kind?: 'model' | 'config' | 'text';
}

/** A line of the help that can be copied, and what it does. */
export interface Example {
  readonly command: string;
  readonly does: string;
}

/** What a command runs with: its own schema's values and the global ones. */
export type ConfigOf<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape>> &
  Omit<GlobalConfig, keyof Shape>;

/**
 * One verb of the command line. The zod shape is the config file, the defaults, the checks and
 * the type at once; flags are declared beside it. Keys are snake_case. Nested objects must be
 * `z.strictObject`, so that their unknown keys are refused too.
 *
 * A command file imports nothing heavy: `run` loads its workflow with `await import(…)`.
 */
export interface Command<Shape extends z.ZodRawShape = z.ZodRawShape> {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** More for the command's own help. */
  readonly description?: string;
  readonly arguments: readonly Argument[];
  readonly shape: Shape;
  readonly flags: { readonly [Key in keyof Shape]?: Flag };
  readonly examples: readonly Example[];
  /** Checks across keys: reports each problem with the key it is about (`bits`, `lora.r`). */
  check?(config: ConfigOf<Shape>, problem: (key: string, message: string) => void): void;
  /** After SIGINT or SIGTERM `run` is waited for (it saves), instead of being cut off. */
  readonly savesWhenInterrupted?: boolean;
  /** @returns the exit code; failures throw, 3 says that a quality gate was not met */
  run(config: ConfigOf<Shape>, io: Io): Promise<ExitCode>;
}

/** 0 done, 1 failed, 2 usage or config error, 3 a quality gate was not met. */
export type ExitCode = 0 | 1 | 2 | 3;

/** Types a command by its shape. */
export function defineCommand<Shape extends z.ZodRawShape>(
  command: Command<Shape>,
): Command<Shape> {
  return command;
}

/** One task's progress: a bar on a terminal, else a plain line now and then. */
export interface Progress {
  /** @param done of the total; @param detail shown after the numbers, e.g. a tensor's name */
  update(done: number, detail?: string): void;
  /** Removes the bar. */
  end(): void;
}

/** A command's way to the world. Results go to stdout, everything else to stderr. */
export interface Io {
  /** `--json`: stdout is one JSON document. */
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** stdin and stdout are a terminal. */
  readonly interactive: boolean;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** The result, as it is (end the last line yourself). Never under `--json`. */
  stdout(text: string): void;
  /** The result under `--json`: one document. */
  printJson(document: unknown): void;
  /** A line on stderr, silent under `--quiet`. */
  note(text: string): void;
  /** `llmkit: warning: …` on stderr, also under `--quiet`. */
  warn(text: string): void;
  /** A line on stderr under `--verbose`. */
  debug(text: string): void;
  /** Silent under `--quiet`. @param label what is being done, e.g. `quantizing` */
  progress(label: string, total: number, unit?: string): Progress;
  /** All of stdin as UTF-8. */
  readStdin(): Promise<string>;
}
