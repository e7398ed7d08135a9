import { existsSync, renameSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';

const PACKAGES = [
  '@tensorflow/tfjs-core/dist/register_all_gradients.js',
  '@tensorflow/tfjs-core',
  '@tensorflow/tfjs-backend-cpu',
];

/**
 * Bundles tfjs once, as the product does, into node_modules/.cache: its thousand modules take five
 * seconds to load one by one, in every test file.
 *
 * @returns aliases of its packages to the bundle, for vitest
 */
export async function tfjsAliases(): Promise<{ find: RegExp; replacement: string }[]> {
  const bundle = resolve('node_modules/.cache/llmkit/tfjs-4.22.0.mjs');
  if (!existsSync(bundle)) await bundleTo(bundle);
  return PACKAGES.map((name) => ({ find: new RegExp(`^${name}$`), replacement: bundle }));
}

async function bundleTo(path: string): Promise<void> {
  const partial = `${path}.${process.pid}`;
  await build({
    stdin: {
      contents: PACKAGES.map((name) => `export * from '${name}';`).join('\n'),
      resolveDir: join(import.meta.dirname, '..'),
    },
    bundle: true,
    format: 'esm',
    platform: 'node',
    mainFields: ['module', 'main'],
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    logLevel: 'error',
    outfile: partial,
  });
  renameSync(partial, path);
}
