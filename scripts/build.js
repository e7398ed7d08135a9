// Bundles src into dist: `node scripts/build.js [--if-stale] [--no-types]`.
// Dependencies are bundled too, which halves the time to start: Node finds and compiles a few files, and
// only what is used of them. (tfjs must be: in Node its CommonJS files register no gradients.)
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const DIST = join(ROOT, 'dist');
const STAMP = join(DIST, '.built');
const INPUTS = ['src', 'package.json', 'package-lock.json', 'scripts', 'tsconfig.json'];
const TYPES_TIMEOUT_MS = 120_000;

/** Bundles the command line and the library; `clean` also removes what earlier builds left. */
export async function buildBundle({ clean = false } = {}) {
  const { build } = await import('esbuild');
  const begunMs = Date.now();
  if (clean) rmSync(DIST, { recursive: true, force: true });
  await build({
    absWorkingDir: ROOT,
    entryPoints: { 'cli/main': 'src/cli/main.ts', index: 'src/index.ts' },
    outdir: DIST,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    mainFields: ['module', 'main'],
    // tfjs asks for it where there is no fetch: never in Node 20.
    external: ['node-fetch'],
    // Names stay, for the stack trace of a bug.
    minifyWhitespace: true,
    minifySyntax: true,
    // The CommonJS parts of dependencies call require.
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    legalComments: 'linked',
    logLevel: 'warning',
  });
  mkdirSync(DIST, { recursive: true });
  writeFileSync(STAMP, `${begunMs}\n`);
}

/** Type declarations of the library, for its users: the bundle works without them. */
export function buildTypes() {
  const project = join(ROOT, 'scripts', 'tsconfig.types.json');
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  try {
    execFileSync(process.execPath, [tsc, '--project', project], {
      stdio: 'pipe',
      timeout: TYPES_TIMEOUT_MS,
    });
  } catch (error) {
    const why = error.code === 'ETIMEDOUT' ? 'it took too long' : lastLines(String(error.stdout));
    process.stderr.write(`build: no type declarations: ${why}\n`);
  }
}

/** True when dist is newer than everything it is made from. */
export function isFresh() {
  try {
    const builtMs = Number(readFileSync(STAMP, 'utf8'));
    return INPUTS.every((path) => newestMs(join(ROOT, path)) < builtMs);
  } catch {
    return false;
  }
}

function newestMs(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => newestMs(join(path, name))));
}

/** The end of a tool's output. */
export function lastLines(text, count = 10) {
  return text.trim().split('\n').slice(-count).join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const flags = process.argv.slice(2);
  if (!flags.includes('--if-stale') || !isFresh()) {
    await buildBundle();
    if (!flags.includes('--no-types')) buildTypes();
  }
}
