// `npm run test:tensorflow`: the op, model, training and parity suites on the tensorflow backend, each beside
// native. Where TensorFlow does not load here it says why and exits 0.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const SUITES = [
  'test/unit/tensor',
  'test/unit/model',
  'test/unit/tune',
  'test/unit/generate',
  'test/unit/eval',
  'test/unit/workflows',
  'test/parity',
  'test/e2e/backends.test.ts',
];

/** These choose native or the emulated GPU themselves: `npm test` has run them. */
const OTHERS = [
  'test/unit/tensor/cuda-*.test.ts',
  'test/unit/model/packed-cache.test.ts',
  'test/unit/tune/paging.test.ts',
  'test/unit/generate/kept-steps.test.ts',
  'test/unit/generate/on-device.test.ts',
  'test/unit/workflows/device-map.test.ts',
  'test/unit/workflows/repeated-runs.test.ts',
];

function run(args, options) {
  return spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8', ...options });
}

/** What `llmkit backend list` says of TensorFlow. */
function tensorflow() {
  const build = run(['scripts/build.js', '--if-stale', '--no-types'], { stdio: 'inherit' });
  if (build.status !== 0) process.exit(build.status ?? 1);
  const { status, stdout, stderr } = run(['bin/llmkit.js', 'backend', 'list', '--json']);
  if (status !== 0) {
    process.stderr.write(`${stdout}${stderr}`);
    process.exit(status ?? 1);
  }
  return JSON.parse(stdout).backends.find(({ name }) => name === 'tensorflow');
}

const { loads, detail } = tensorflow();
if (loads) {
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const env = { ...process.env, LLMKIT_BACKEND: 'tensorflow' };
  const left = OTHERS.flatMap((files) => ['--exclude', files]);
  const { status } = run([vitest, 'run', ...SUITES, ...left], { stdio: 'inherit', env });
  process.exitCode = status ?? 1;
} else {
  process.stdout.write(`skipped: the tests on the tensorflow backend: ${detail}\n`);
}
