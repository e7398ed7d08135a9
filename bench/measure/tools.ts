import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where a program of PATH lies; undefined when there is none. */
export function findTool(name: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
