// npm's `prepare`: builds the addon and the bundle, and makes `npx llmkit` work in this folder.
// Without a compiler the install still succeeds: the reference backend computes then.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildBundle, buildTypes, isFresh, lastLines } from './build.js';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MODULES = join(ROOT, 'node_modules');

function buildAddon() {
  const script = join(ROOT, 'scripts', 'build-addon.js');
  const built = spawnSync(process.execPath, [script], { cwd: ROOT, encoding: 'utf8' });
  if (built.status === 0) return;
  const output = lastLines(`${built.stdout ?? ''}${built.stderr ?? ''}${built.error ?? ''}`);
  process.stderr.write(
    `${output}\nllmkit: the native backend was not built (it needs CMake and a C++17 compiler); ` +
      'the slower reference backend will be used. To try again: npm run build:addon\n',
  );
}

/** Where there is NVIDIA's driver: it takes minutes. The CPU's addon does not depend on it. */
function buildCuda() {
  if (!existsSync('/proc/driver/nvidia/version')) return;
  const script = join(ROOT, 'scripts', 'build-cuda.js');
  const built = spawnSync(process.execPath, [script], { cwd: ROOT, encoding: 'utf8' });
  if (built.status === 0) return;
  const output = lastLines(`${built.stdout ?? ''}${built.stderr ?? ''}${built.error ?? ''}`);
  process.stderr.write(
    `${output}\nllmkit: the addon of NVIDIA GPUs was not built. To try again: npm run build:cuda\n`,
  );
}

async function bundle() {
  if (isFresh()) return;
  if (!existsSync(join(MODULES, 'esbuild'))) {
    process.stderr.write(
      'llmkit: not bundled: esbuild is a development dependency (npm install)\n',
    );
    return;
  }
  await buildBundle({ clean: true });
  // Declarations are for a package's users; here, in its own folder, they would only cost time.
  if (['pack', 'publish'].includes(process.env.npm_command ?? '')) buildTypes();
}

/** npm links the bins of dependencies, not the root package's own. */
function linkBin() {
  const link = join(MODULES, '.bin', 'llmkit');
  chmodSync(join(ROOT, 'bin', 'llmkit.js'), 0o755);
  if (process.platform === 'win32' || !existsSync(MODULES)) return;
  if (lstatSync(link, { throwIfNoEntry: false })) return;
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(join('..', '..', 'bin', 'llmkit.js'), link);
}

buildAddon();
buildCuda();
await bundle();
linkBin();
