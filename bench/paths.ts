import { join } from 'node:path';

/** Where the bundled drivers of bench/llmkit lie. */
export function driverPath(root: string, name: 'generate' | 'score'): string {
  return join(root, 'build', 'bench', 'llmkit', `${name}.js`);
}

/** The built library. */
export function libraryPath(root: string): string {
  return join(root, 'dist', 'index.js');
}

/** The command line. */
export function programPath(root: string): string {
  return join(root, 'bin', 'llmkit.js');
}
