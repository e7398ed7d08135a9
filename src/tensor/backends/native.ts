import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LlmkitError } from '../../errors.js';
import type { Addon } from './addon.js';

/**
 * Loads the compiled addon, build/llmkit.node of the package.
 *
 * @throws LlmkitError `unsupported` when it is not built or does not load here, saying how to mend it
 */
export function loadAddon(): Addon {
  const path = join(packageRoot(), 'build', 'llmkit.node');
  if (!existsSync(path)) {
    throw new LlmkitError(
      'unsupported',
      `native backend: ${path} is not built; build it with \`node scripts/build-addon.js\` (needs CMake and a C++17 compiler)`,
    );
  }
  try {
    return createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    throw new LlmkitError(
      'unsupported',
      `native backend: ${path} does not load: ${String(cause)}; build it anew with \`node scripts/build-addon.js\``,
      { cause },
    );
  }
}

/** The folder of the nearest package.json above this file, in `src/` and in the bundle alike. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) {
    folder = dirname(folder);
  }
  return folder;
}
