import { existsSync, readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LlmkitError } from '../errors.js';

/** A JSON object of a checkpoint folder. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The files of a folder that say how text becomes ids. */
export interface TokenizerFiles {
  readonly tokenizerText: string;
  readonly tokenizer: JsonObject;
  /** tokenizer_config.json; files that are absent are empty objects. */
  readonly settings: JsonObject;
  readonly specialTokens: JsonObject;
  readonly generation: JsonObject;
  readonly config: JsonObject;
  /** chat_template.jinja. */
  readonly template: string | undefined;
}

const TOKENIZER = 'tokenizer.json';

/** Files of tokenizers that this one was made from, and how. */
const CONVERTIBLE = ['tokenizer.model', 'spiece.model', 'vocab.json', 'vocab.txt'];

/**
 * Reads the tokenizer's files.
 *
 * @throws LlmkitError `checkpoint` when tokenizer.json is missing, or a file is not JSON
 */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const tokenizerText = readText(folder, TOKENIZER);
  if (tokenizerText === undefined) throw await missing(folder);
  const [settings, specialTokens, generation, config] = [
    'tokenizer_config',
    'special_tokens_map',
    'generation_config',
    'config',
  ].map((name) => readJson(folder, `${name}.json`));
  return {
    tokenizerText,
    tokenizer: parseObject(tokenizerText, join(folder, TOKENIZER)),
    settings: settings ?? {},
    specialTokens: specialTokens ?? {},
    generation: generation ?? {},
    config: config ?? {},
    template: readText(folder, 'chat_template.jinja'),
  };
}

/**
 * Says at once what reading would say later.
 *
 * @throws LlmkitError `checkpoint` when tokenizer.json is missing
 */
export async function requireTokenizer(folder: string): Promise<void> {
  if (!existsSync(join(folder, TOKENIZER))) throw await missing(folder);
}

/** At once: the threads that would read beside JavaScript are packing weights. */
function readText(folder: string, name: string): string | undefined {
  try {
    return readFileSync(join(folder, name), 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new LlmkitError('checkpoint', `${join(folder, name)}: cannot be read: ${code}`);
  }
}

function readJson(folder: string, name: string): JsonObject {
  const text = readText(folder, name);
  return text === undefined ? {} : parseObject(text, join(folder, name));
}

function parseObject(text: string, path: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new LlmkitError('checkpoint', `${path}: not valid JSON: ${(error as Error).message}`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as JsonObject;
  }
  throw new LlmkitError('checkpoint', `${path}: expected a JSON object`);
}

async function missing(folder: string): Promise<LlmkitError> {
  const names = await readdir(folder).catch((): string[] => []);
  const other = CONVERTIBLE.find((name) => names.includes(name));
  const path = join(folder, TOKENIZER);
  if (other === undefined) return new LlmkitError('checkpoint', `${path}: no such file`);
  return new LlmkitError(
    'checkpoint',
    `${path}: no such file, only ${other}; write it once with Python: python -c "from transformers import ` +
      `AutoTokenizer as T; T.from_pretrained('${folder}').save_pretrained('${folder}')"`,
  );
}
