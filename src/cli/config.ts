import { existsSync, readdirSync, readFileSync } from 'node:fs';
import * as z from 'zod';
import { LlmkitError } from '../errors.js';
import type { Command, ConfigOf } from './command.js';
import { type Problem, problemsOf } from './problems.js';
import { flagName, globalFlags, globalShape } from './schema.js';

/** Where the values of a run come from. */
export interface ConfigSources {
  /** Keys given by flags and positional arguments. */
  readonly given: Readonly<Record<string, GivenValue>>;
  /** `--config FILE`, or the positional config file. */
  readonly file?: string | undefined;
  /** `--set KEY=VALUE` texts; KEY may be nested (`lora.r`), VALUE is YAML. */
  readonly set?: readonly string[];
}

/** A value from the command line, and what it is called there: `--bits`, `MODEL`. */
export interface GivenValue {
  readonly value: unknown;
  readonly label: string;
}

/** Values and the source of each top-level key, before the checks. */
interface Gathered {
  readonly values: Record<string, unknown>;
  readonly labels: Map<string, string>;
}

/**
 * A command's configuration: flags over `--set` over file over defaults, checked.
 *
 * @throws LlmkitError `usage` or `config` with all problems at once
 */
export async function resolveConfig<Shape extends z.ZodRawShape>(
  command: Command<Shape>,
  sources: ConfigSources,
): Promise<ConfigOf<Shape>> {
  const schema = z.strictObject({ ...globalShape, ...command.shape });
  const { values, labels } = await gather(sources);
  await addModel(command, values);
  const parsed = schema.safeParse(values, { reportInput: true });
  const problems: Problem[] = parsed.success ? [] : problemsOf(parsed.error, schema);
  if (parsed.success) {
    const add = (key: string, message: string) => problems.push({ path: key.split('.'), message });
    command.check?.(parsed.data as ConfigOf<Shape>, add);
  }
  if (problems.length > 0) {
    if (sources.file === undefined) labelMissing(command, labels);
    throw problemError(problems, labels, sources.file);
  }
  return parsed.data as ConfigOf<Shape>;
}

async function gather({ given, file, set = [] }: ConfigSources): Promise<Gathered> {
  const values = file === undefined ? {} : await readConfigFile(file);
  const labels = new Map<string, string>();
  for (const text of set) await applySet(values, text, labels);
  for (const [key, { value, label }] of Object.entries(given)) {
    values[key] = value;
    labels.set(key, label);
  }
  return { values, labels };
}

/** Reads a YAML (or JSON) file whose top level is a mapping. The parser is loaded when one is read. */
export async function readConfigFile(path: string): Promise<Record<string, unknown>> {
  const { parse, YAMLParseError } = await import('./yaml.js');
  let value: unknown;
  try {
    value = parse(readFileSync(path, 'utf8')) ?? {};
  } catch (error) {
    if (error instanceof YAMLParseError) {
      throw new LlmkitError('config', `${path}: not valid YAML: ${error.message.split('\n')[0]}`);
    }
    const why =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : String(error);
    throw new LlmkitError('config', `config file ${path}: ${why}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new LlmkitError('config', `${path}: expected a mapping of keys to values (key: value)`);
  }
  return value as Record<string, unknown>;
}

async function applySet(
  values: Record<string, unknown>,
  text: string,
  labels: Map<string, string>,
): Promise<void> {
  const cut = text.indexOf('=');
  if (cut < 1) throw new LlmkitError('usage', `--set: expected KEY=VALUE, got '${text}'`);
  const path = text.slice(0, cut).split('.');
  const last = path.pop() ?? '';
  let target = values;
  for (const key of path) {
    const inner = target[key];
    const isMapping = typeof inner === 'object' && inner !== null && !Array.isArray(inner);
    target[key] = isMapping ? { ...inner } : {};
    target = target[key] as Record<string, unknown>;
  }
  target[last] = await setValue(text, cut);
  const top = path[0] ?? last;
  labels.set(top, `--set ${top}`);
}

async function setValue(text: string, cut: number): Promise<unknown> {
  const { parse } = await import('./yaml.js');
  try {
    return parse(text.slice(cut + 1)) ?? null;
  } catch (error) {
    const why = (error as Error).message.split('\n')[0];
    throw new LlmkitError('usage', `--set: '${text}' has no valid YAML after the =: ${why}`);
  }
}

/** MODEL left out: the current folder's checkpoint, else `model:` of llmkit.yaml there. */
async function addModel(
  command: Command<z.ZodRawShape>,
  values: Record<string, unknown>,
): Promise<void> {
  const argument = command.arguments.find(({ kind }) => kind === 'model');
  if (!argument || values[argument.key] !== undefined) return;
  if (holdsCheckpoint('.')) {
    values[argument.key] = '.';
    return;
  }
  const file = existsSync('llmkit.yaml') ? await readConfigFile('llmkit.yaml') : {};
  const { model } = file;
  if (model === undefined) {
    throw new LlmkitError(
      'usage',
      `${command.name}: which model? Give MODEL (a folder or a hub id); it may be left out where the current ` +
        `folder holds a checkpoint or a llmkit.yaml with 'model:', and this one holds neither`,
    );
  }
  values[argument.key] = model;
}

function holdsCheckpoint(folder: string): boolean {
  const names = readdirSync(folder);
  return names.includes('config.json') && names.some((name) => /\.(safetensors|bin)$/.test(name));
}

/** Without a file, a key that was not given is called by its flag. */
function labelMissing(command: Command<z.ZodRawShape>, labels: Map<string, string>): void {
  for (const { key, name } of command.arguments) labels.set(key, labels.get(key) ?? name);
  for (const key of Object.keys({ ...globalFlags, ...command.flags })) {
    labels.set(key, labels.get(key) ?? flagName(key));
  }
}

/** Lines of problems shown at most; an error has 12 lines at most. */
const MAX_PROBLEMS = 9;

function problemError(
  problems: readonly Problem[],
  labels: ReadonlyMap<string, string>,
  file: string | undefined,
): LlmkitError {
  const fromFile = problems.some(({ path }) => !labels.has(String(path[0])));
  const code = fromFile && file !== undefined ? 'config' : 'usage';
  const lines = problems.map(({ path, message }) => {
    const [top = '', ...rest] = path;
    const label = labels.get(String(top));
    const place = [label ?? String(top), ...rest.map(step)].join('');
    return file !== undefined && label === undefined
      ? `${file}: ${place} ${message}`
      : `${place} ${message}`;
  });
  if (lines.length === 1) return new LlmkitError(code, lines[0] ?? '');
  const more = lines.length - MAX_PROBLEMS;
  const shown = lines.slice(0, MAX_PROBLEMS).map((line) => `  - ${line}`);
  if (more > 0) shown.push(`  … and ${more} more`);
  return new LlmkitError(code, [`${lines.length} problems:`, ...shown].join('\n'));
}

/** `.key` or `[index]` of a path. */
function step(key: PropertyKey): string {
  return typeof key === 'number' ? `[${key}]` : `.${String(key)}`;
}
