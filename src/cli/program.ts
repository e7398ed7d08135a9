import { Command as Commander, CommanderError, Option } from 'commander';
import type { z } from 'zod';
import { LlmkitError } from '../errors.js';
import { VERSION } from '../workflows/version.js';
import type { Argument, Command, Flag } from './command.js';
import { commands } from './commands/index.js';
import type { ConfigSources, GivenValue } from './config.js';
import {
  choicesOf,
  collects,
  defaultOf,
  flagName,
  globalFlags,
  globalShape,
  readFlagValue,
} from './schema.js';

/** What the command line asks for: a command with its sources, or just a text (help, version). */
export type Parsed =
  | { readonly text: string }
  | { readonly command: Command; readonly sources: ConfigSources; readonly options: CliOptions };

/** Flags of the command line itself; they are no keys of a config file. */
export interface CliOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly printConfig: boolean;
}

/**
 * Reads argv (without node and script).
 *
 * @throws LlmkitError `usage` for unknown commands and flags, with a did-you-mean
 */
export async function parseArguments(argv: readonly string[]): Promise<Parsed> {
  const verb = argv.find((word) => Object.hasOwn(commands, word));
  const needsAll = argv.length === 0 || verb === undefined || argv.includes('help');
  const loaded = await loadCommands(needsAll ? Object.keys(commands) : [verb ?? '']);
  let parsed: Parsed | undefined;
  let text = '';
  const program = newProgram((written) => {
    text += written;
  });
  for (const name of Object.keys(commands)) {
    const command = loaded.get(name);
    if (command)
      addCommand(program, command, (found) => {
        parsed = found;
      });
    else program.command(name);
  }
  try {
    await program.parseAsync(argv.length === 0 ? ['--help'] : argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw usageError(error);
  }
  return parsed ?? { text };
}

async function loadCommands(names: readonly string[]): Promise<Map<string, Command>> {
  const loaded = new Map<string, Command>();
  for (const name of names) {
    const command = await commands[name]?.();
    if (command) loaded.set(name, command);
  }
  return loaded;
}

function newProgram(write: (text: string) => void): Commander {
  const program = new Commander('llmkit')
    .description('Quantize, fine-tune, merge, evaluate and run language models.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({ writeOut: write, writeErr: () => {}, outputError: () => {} })
    .configureHelp({ showGlobalOptions: true, helpWidth: 100, subcommandTerm: (sub) => sub.name() })
    .option('--config <FILE>', 'YAML file with the flags in snake_case; flags win over it')
    .option('--json', 'print one JSON document on stdout')
    .option('--quiet', 'no progress and no notes')
    .option('--verbose', 'more notes on stderr')
    .option('--print-config', 'print the resolved configuration and stop');
  for (const [key, flag] of Object.entries(globalFlags)) {
    program.addOption(toOption(key, flag, globalShape[key as keyof typeof globalShape]));
  }
  return program.addHelpText('after', '\n`llmkit <command> --help` shows its flags and examples.');
}

function addCommand(program: Commander, command: Command, found: (parsed: Parsed) => void): void {
  const sub = program
    .command(command.name)
    .summary(command.summary)
    .description(`${command.summary}.${command.description ? `\n\n${command.description}` : ''}`);
  for (const argument of command.arguments) {
    sub.argument(argumentSyntax(argument, command.shape), argument.description);
  }
  for (const [key, flag] of Object.entries(command.flags) as [string, Flag][]) {
    sub.addOption(toOption(key, flag, command.shape[key] as z.ZodType));
  }
  const takesConfig = command.arguments.some(({ kind }) => kind === 'config');
  if (takesConfig) {
    sub.option('--set <KEY=VALUE>', 'override a key of the config file (repeatable)', collect);
  }
  sub.addHelpText('after', `\n${examplesText(command)}`);
  sub.action(() => found(toParsed(command, sub, program)));
}

/** `[MODEL]` or `<FILE>`. */
function argumentSyntax({ key, name, kind = 'text' }: Argument, shape: z.ZodRawShape): string {
  const schema = shape[key] as z.ZodType | undefined;
  const optional = kind !== 'text' || (schema?.safeParse(undefined).success ?? false);
  return optional ? `[${name}]` : `<${name}>`;
}

function toOption(key: string, flag: Flag, schema: z.ZodType): Option {
  const long =
    flag.value === undefined && defaultOf(schema) === true
      ? `--no-${flagName(key).slice(2)}`
      : flagName(key);
  const short = flag.short ? `-${flag.short}, ` : '';
  const value = flag.value ? ` <${flag.value}>` : '';
  const option = new Option(`${short}${long}${value}`, `${flag.description}${facts(schema)}`);
  return collects(schema) ? option.argParser(collect) : option;
}

/** ` (nf4, fp4 or int4; default 4)`: what the schema knows about the value. */
function facts(schema: z.ZodType): string {
  const choices = choicesOf(schema)?.join(', ');
  const value = defaultOf(schema);
  const isPlain = typeof value === 'string' || typeof value === 'number';
  const parts = [choices, isPlain ? `default ${value}` : undefined].filter(Boolean);
  return parts.length > 0 ? ` (${parts.join('; ')})` : '';
}

function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

function examplesText({ examples }: Command): string {
  const lines = examples.map(({ command, does }) => `  # ${does}\n  ${command}`);
  return `Examples:\n${lines.join('\n')}`;
}

/** What was typed; defaults come from the schema later. */
function toParsed(command: Command, sub: Commander, program: Commander): Parsed {
  const typed: Record<string, unknown> = { ...program.opts(), ...sub.opts() };
  const on = (name: string) => typed[name] === true;
  const { json, quiet, verbose } = { json: on('json'), quiet: on('quiet'), verbose: on('verbose') };
  const set = (typed.set as string[] | undefined) ?? [];
  const file = configFile(command, sub, typed.config as string | undefined);
  if (file === undefined && set.length === 0) refuseWithoutConfig(command);
  const given = { ...givenFlags(command, sub, typed), ...givenArguments(command, sub) };
  const options = { json, quiet, verbose, printConfig: on('printConfig') };
  return { command, sources: { given, file, set }, options };
}

function givenFlags(
  command: Command,
  sub: Commander,
  typed: Record<string, unknown>,
): Record<string, GivenValue> {
  const shape: z.ZodRawShape = { ...globalShape, ...command.shape };
  const flags: [string, Flag][] = Object.entries({ ...globalFlags, ...command.flags });
  const entries = flags.flatMap(([key, flag]): [string, GivenValue][] => {
    const value = typed[camelCase(key)];
    const source = sub.getOptionValueSourceWithGlobals(camelCase(key));
    if (value === undefined || source !== 'cli') return [];
    const read = readFlagValue(shape[key] as z.ZodType, value, flag);
    return [[key, { value: read, label: flagName(key) }]];
  });
  return Object.fromEntries(entries);
}

function givenArguments(command: Command, sub: Commander): Record<string, GivenValue> {
  const entries = command.arguments.flatMap(({ key, name, kind }, i): [string, GivenValue][] => {
    const text = sub.args[i];
    if (text === undefined || kind === 'config') return [];
    const value = readFlagValue(command.shape[key] as z.ZodType, text, { description: name });
    return [[key, { value, label: name }]];
  });
  return Object.fromEntries(entries);
}

/** The positional config file, else `--config`'s. */
function configFile(
  command: Command,
  sub: Commander,
  flag: string | undefined,
): string | undefined {
  const at = command.arguments.findIndex(({ kind }) => kind === 'config');
  const positional = at < 0 ? undefined : sub.args[at];
  if (positional !== undefined && flag !== undefined) {
    throw new LlmkitError(
      'usage',
      `${command.name}: give one config file, got ${positional} and --config ${flag}`,
    );
  }
  return positional ?? flag;
}

/** A command that lives on its config file says so, not which keys are missing. */
function refuseWithoutConfig({ name, arguments: declared }: Command): void {
  const argument = declared.find(({ kind }) => kind === 'config');
  if (argument === undefined) return;
  throw new LlmkitError(
    'usage',
    `${name}: ${argument.name} is missing: llmkit ${name} config.yaml (or --set KEY=VALUE for every key it needs)`,
  );
}

function camelCase(key: string): string {
  return key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function usageError({ message, code }: CommanderError): LlmkitError {
  if (code === 'commander.help') {
    return new LlmkitError('usage', 'which command? --help lists what there is');
  }
  const [problem = '', meant] = message.replace(/^error: /, '').split(/\n\(Did you mean (.*)\)/s);
  if (meant !== undefined) return new LlmkitError('usage', `${problem}; did you mean ${meant}`);
  const isUnknown = code === 'commander.unknownCommand' || code === 'commander.unknownOption';
  return new LlmkitError('usage', isUnknown ? `${problem}; --help lists what there is` : problem);
}
