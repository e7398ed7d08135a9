import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Path of an entry of the data that lies beside the project, or undefined (said once per test file). */
export function sharedData(...entry: string[]): string | undefined {
  const path = join('..', 'shared', ...(entry[0] === 'golden' ? entry : ['data', ...entry]));
  if (existsSync(path)) return path;
  process.stderr.write(`skipped: ${path} is not there\n`);
  return undefined;
}
