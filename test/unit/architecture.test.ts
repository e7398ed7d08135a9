import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';

/** Bottom to top. A file may import its own folder and the folders on the lines above it. */
const LAYERS = [
  ['errors', 'suggest'],
  ['tensor'],
  ['tokenizer', 'checkpoint', 'data'],
  ['model'],
  ['quant', 'tune', 'generate', 'report'],
  ['eval'], // scores by generating too
  ['workflows'],
  ['index', 'cli'],
];
const level = new Map(LAYERS.flatMap((names, i) => names.map((name) => [name, i] as const)));

/** `src/model/decoder.ts` → `model`; `src/errors.js` → `errors`. */
const folderOf = (path: string) => path.split('/')[1]?.replace(/\.[jt]s$/, '') ?? '';

const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => join('src', file));

test.each(files)('%s imports only its own folder and lower layers', (file) => {
  const source = readFileSync(file, 'utf8');
  for (const [, specifier = ''] of source.matchAll(/(?:from |import\()'(\.[^']+)'/g)) {
    const [from, to] = [folderOf(file), folderOf(join(dirname(file), specifier))];
    const allowed = from === to || (level.get(to) ?? Infinity) < (level.get(from) ?? -1);
    expect(allowed, `${file} imports ${specifier}`).toBe(true);
  }
});
