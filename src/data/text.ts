import { readFile } from 'node:fs/promises';
import { LlmkitError } from '../errors.js';

/**
 * A text file with every line end as `\n`, the way Python's text mode reads it: perplexities are then
 * those of the Python tools.
 *
 * @throws LlmkitError `config` when it is not there or cannot be read
 */
export async function readText(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).replace(/\r\n?/g, '\n');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code})`;
    throw new LlmkitError('config', `expected a text file at ${path}, but ${why}`);
  }
}
