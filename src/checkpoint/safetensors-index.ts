import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LlmkitError } from '../errors.js';
import { parseStrictJson, type StrictJson } from './strict-json.js';

/** Name of the file that says which shard holds which tensor. */
export const INDEX_FILE = 'model.safetensors.index.json';

const MAX_INDEX_BYTES = 100_000_000;

/**
 * Reads the index of a sharded checkpoint: tensor name → file name.
 *
 * @throws LlmkitError `checkpoint` when it is broken or names a file outside the folder
 */
export async function readIndex(folder: string): Promise<Map<string, string>> {
  const path = join(folder, INDEX_FILE);
  const { size } = await stat(path);
  if (size > MAX_INDEX_BYTES) {
    refuse(path, `expected at most ${MAX_INDEX_BYTES} bytes, got ${size}`);
  }
  const root = parse(await readFile(path, 'utf8'), path);
  const weightMap = root instanceof Map ? root.get('weight_map') : undefined;
  if (!(weightMap instanceof Map)) return refuse(path, 'expected an object weight_map');
  const files = new Map<string, string>();
  for (const [tensor, file] of weightMap) {
    if (typeof file !== 'string') return refuse(path, `expected a file name for ${tensor}`);
    if (!isInside(file)) {
      refuse(path, `expected a safetensors file inside the folder for ${tensor}, got '${file}'`);
    }
    files.set(tensor, file);
  }
  return files;
}

function parse(text: string, path: string): StrictJson {
  try {
    return parseStrictJson(text);
  } catch (error) {
    if (error instanceof SyntaxError) return refuse(path, error.message);
    throw error;
  }
}

/** Whether a relative path stays in its folder on every system. */
function isInside(file: string): boolean {
  const parts = file.split('/');
  const plain = parts.every((part) => part !== '' && part !== '.' && part !== '..');
  return plain && !/[\\:\0]/.test(file) && file.endsWith('.safetensors');
}

function refuse(path: string, problem: string): never {
  throw new LlmkitError('checkpoint', `${path}: not a sound index: ${problem}`);
}
