// `npm run bench`: builds what is measured and the benchmark itself, and runs it.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const OUTPUT = join('build', 'bench');

/** Runs a script of node's; ends with it when it fails. */
function node(script, args) {
  const { status } = spawnSync(process.execPath, [script, ...args], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? 1);
}

node(join('scripts', 'build-addon.js'), []);
node(join('scripts', 'build.js'), ['--if-stale', '--no-types']);
await build({
  absWorkingDir: ROOT,
  entryPoints: {
    main: 'bench/main.ts',
    'llmkit/generate': 'bench/llmkit/generate.ts',
    'llmkit/score': 'bench/llmkit/score.ts',
  },
  outdir: OUTPUT,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  logLevel: 'warning',
});
node(join(OUTPUT, 'main.js'), process.argv.slice(2));
