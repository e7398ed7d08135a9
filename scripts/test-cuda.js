// `npm run test:cuda`: the op, model, training and parity suites on `--device cuda`, beside the CPU. On a GPU where
// build/llmkit_cuda.node can use one, all of them, the C++ tests of the kernels, and a record of it for `llmkit backend
// list`; else those that do not take long on the device that is emulated on the host, and it says so.
// LLMKIT_CUDA_ADDON=PATH, for development, chooses the addon.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testKernels } from './kernel-tests.js';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const SUITES = [
  'test/unit/tensor',
  'test/unit/model',
  'test/unit/tune',
  'test/unit/quant/quantizer.test.ts',
  'test/unit/generate',
  'test/unit/eval',
  'test/unit/workflows',
  'test/parity',
  'test/e2e/cuda.test.ts',
  'test/e2e/cuda-bundled-model.test.ts',
];
/** Without those that choose the emulated device themselves: `npm test` has run them. */
const EMULATED_SUITES = [
  'test/unit/tensor/ops.test.ts',
  'test/unit/tensor/compute.test.ts',
  'test/unit/tensor/linears.test.ts',
  'test/unit/tensor/gradients.test.ts',
  'test/unit/tensor/backends.test.ts',
  'test/unit/tensor/cached-attention.test.ts',
  'test/unit/tensor/cuda-backend.test.ts',
  'test/unit/tensor/dropout.test.ts',
  'test/unit/tensor/held.test.ts',
  'test/unit/tensor/held-results.test.ts',
  'test/unit/tensor/in-place.test.ts',
  'test/unit/tensor/rounded-linear.test.ts',
  'test/unit/quant/quantizer.test.ts',
  'test/unit/generate/decode.test.ts',
  'test/unit/eval/harness.test.ts',
  'test/unit/tune/optimizer.test.ts',
  'test/unit/workflows/adapter-base.test.ts',
  'test/unit/workflows/compute-invariance.test.ts',
  'test/unit/workflows/merge-embedding.test.ts',
  'test/unit/workflows/quantize-on-load.test.ts',
  'test/unit/workflows/trainee.test.ts',
  'test/parity/families.test.ts',
  'test/e2e/cuda.test.ts',
  'test/e2e/cuda-bundled-model.test.ts',
];

function node(args, options) {
  return spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8', ...options });
}

/** Ends the process where a step fails. */
function step(args, options) {
  const { status } = node(args, { stdio: 'inherit', ...options });
  if (status !== 0) process.exit(status ?? 1);
}

/** What `llmkit backend list` says of the GPU with this addon. */
function cudaStatus(addon) {
  const env = { ...process.env, LLMKIT_CUDA_ADDON: addon };
  const { status, stdout, stderr } = node(['bin/llmkit.js', 'backend', 'list', '--json'], { env });
  if (status !== 0) {
    process.stderr.write(`${stdout}${stderr}`);
    process.exit(status ?? 1);
  }
  const native = JSON.parse(stdout).backends.find(({ name }) => name === 'native');
  return native.cuda ?? { loads: false, detail: native.detail };
}

/** The addon to test, and the GPU that it finds. */
function chooseAddon() {
  const emulated = join(ROOT, 'build', 'llmkit_cuda_emulated.node');
  const first = process.env.LLMKIT_CUDA_ADDON || join(ROOT, 'build', 'llmkit_cuda.node');
  const status = cudaStatus(first);
  if (status.loads || process.env.LLMKIT_CUDA_ADDON) return { addon: first, status };
  process.stdout.write(`no test on a GPU: ${status.detail}\n`);
  if (!existsSync(emulated)) return { addon: emulated, status };
  return { addon: emulated, status: cudaStatus(emulated) };
}

/** Notes beside the addon that this build has passed on a GPU like this; src/tensor/backends/cuda-record.ts reads it. */
function record(addon, { name, computeCapability, driverCuda }) {
  const path = addon.replace(/\.node$/, '.tested.json');
  const made = {
    addon_sha256: createHash('sha256').update(readFileSync(addon)).digest('hex'),
    gpu: name,
    compute_capability: computeCapability,
    driver_cuda: driverCuda,
    tested_at: new Date().toISOString(),
  };
  const before = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : [];
  const others = before.filter((old) => old.addon_sha256 !== made.addon_sha256 || old.gpu !== name);
  writeFileSync(path, `${JSON.stringify([...others, made], null, 2)}\n`);
}

step(['scripts/build.js', '--if-stale', '--no-types']);
// Beside a GPU too: some suites load it themselves, for what no GPU does when asked to.
step(['scripts/build-cuda.js', '--emulated']);
const { addon, status } = chooseAddon();
if (status.loads) {
  const { name, emulated } = status.gpu;
  process.stdout.write(`tests of --device cuda on ${emulated ? 'the emulated device' : name}\n`);
  const env = { ...process.env, LLMKIT_CUDA_ADDON: addon, LLMKIT_DEVICE: 'cuda' };
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  step([vitest, 'run', ...(emulated ? EMULATED_SUITES : SUITES)], { env });
  const failures = testKernels(join(ROOT, 'build', 'cuda', 'llmkit_cuda_test'), emulated);
  for (const failure of failures) process.stdout.write(`FAIL ${failure}\n`);
  if (failures.length > 0) process.exit(1);
  if (!emulated) record(addon, status.gpu);
} else {
  process.stdout.write(`skipped: the tests of --device cuda: ${status.detail}\n`);
}
