// Compiles the kernels for TensorFlow's GPU device against the headers of a TensorFlow wheel, as
// `llmkit backend install tensorflow --gpu` does before it links them; and builds them for the emulated device, where
// they compute for the installed TensorFlow of that version, and runs its tests with them.
//   node scripts/check-tensorflow-gpu.js WHEEL
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build, isThere, ROOT, run } from './native-build.js';

/** What takes no longer than minutes there. */
const EMULATED_SUITES = [
  'test/unit/tensor/ops.test.ts',
  'test/unit/tensor/compute.test.ts',
  'test/unit/tensor/linears.test.ts',
  'test/unit/tensor/gradients.test.ts',
  'test/unit/tensor/cached-attention.test.ts',
  'test/unit/tensor/dropout.test.ts',
  'test/unit/tensor/held.test.ts',
  'test/unit/tensor/held-results.test.ts',
  'test/unit/tensor/in-place.test.ts',
  'test/unit/tensor/rounded-linear.test.ts',
  'test/unit/tensor/tensorflow.test.ts',
  'test/parity/families.test.ts',
];

const UNPACK = `
import os, sys, zipfile
wheel, folder = sys.argv[1:]
library = 'libtensorflow_framework.so.2'
with zipfile.ZipFile(wheel) as archive:
    headers = [n for n in archive.namelist() if n.startswith('tensorflow/include/')]
    archive.extractall(folder, headers)
    os.makedirs(folder + '/tensorflow/lib')
    with open(folder + '/tensorflow/lib/' + library, 'wb') as out:
        out.write(archive.read('tensorflow/' + library))
`;

const [wheel] = process.argv.slice(2);
if (wheel === undefined) {
  process.stderr.write('usage: node scripts/check-tensorflow-gpu.js WHEEL\n');
  process.exit(2);
}
const folder = join(ROOT, 'build', 'tensorflow-gpu');
const unpacked = join(folder, 'wheel');

function unpack() {
  rmSync(unpacked, { recursive: true, force: true });
  mkdirSync(unpacked, { recursive: true });
  run('python3', ['-c', UNPACK, wheel, unpacked]);
}

function compileForGpus() {
  if (!isThere('nvcc')) {
    process.stdout.write("skipped: kernels for TensorFlow's GPU device (nvcc is not found)\n");
    return;
  }
  build({
    folder,
    flags: [
      `-DLLMKIT_TENSORFLOW_DIR=${join(unpacked, 'tensorflow')}`,
      '-DLLMKIT_TENSORFLOW_GPU=ON',
      '-DLLMKIT_CUDA_ARCHITECTURES=80;90a',
    ],
    targets: ['tensorflow_gpu'],
  });
  process.stdout.write("done: kernels for TensorFlow's GPU device compile\n");
}

/** The addon with the kernels on the emulated device, which npm's tests are built of too. */
function buildEmulated() {
  const emulated = join(ROOT, 'build', 'tensorflow-emulated');
  const kernels = join(ROOT, 'build', 'cmake');
  build({
    folder: kernels,
    flags: ['-DLLMKIT_TESTS=ON', '-DLLMKIT_SANITIZE='],
    targets: ['kernels', 'cuda_kernels_emulated'],
  });
  build({
    folder: emulated,
    flags: [
      `-DLLMKIT_TENSORFLOW_DIR=${join(unpacked, 'tensorflow')}`,
      `-DLLMKIT_KERNELS=${join(kernels, 'libkernels.a')}`,
      `-DLLMKIT_EMULATED_KERNELS=${join(kernels, 'libcuda_kernels_emulated.a')}`,
      '-DLLMKIT_TESTS=ON',
    ],
    targets: ['llmkit_tensorflow_emulated'],
  });
  return join(emulated, 'llmkit_tensorflow_emulated.node');
}

/** The op and parity suites on TensorFlow with these ops, beside native. */
function test(ops) {
  process.stdout.write("tests of the kernels for TensorFlow's GPU device on the emulated device\n");
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const env = { ...process.env, LLMKIT_BACKEND: 'tensorflow', LLMKIT_TENSORFLOW_OPS: ops };
  const args = [vitest, 'run', '--testTimeout=180000', ...EMULATED_SUITES];
  const { status } = spawnSync(process.execPath, args, { cwd: ROOT, stdio: 'inherit', env });
  process.exitCode = status ?? 1;
}

unpack();
compileForGpus();
test(buildEmulated());
