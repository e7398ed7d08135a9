// Compiles the kernels for TensorFlow's GPU device against the headers of a TensorFlow wheel, as
// `llmkit backend install tensorflow --gpu` does before it links them.
//   node scripts/check-tensorflow-gpu.js WHEEL
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build, isThere, ROOT, run } from './native-build.js';

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
if (!isThere('nvcc')) {
  process.stdout.write("skipped: kernels for TensorFlow's GPU device (nvcc is not found)\n");
  process.exit(0);
}
const folder = join(ROOT, 'build', 'tensorflow-gpu');
const unpacked = join(folder, 'wheel');
rmSync(unpacked, { recursive: true, force: true });
mkdirSync(unpacked, { recursive: true });
run('python3', ['-c', UNPACK, wheel, unpacked]);
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
