// Builds the addon of NVIDIA GPUs with CMake and nvcc: kernels/ -> build/llmkit_cuda.node, and
// build/cuda/llmkit_cuda_test, which tests its kernels on a GPU. Without nvcc 12 it says so and exits 0; it
// exits 0 too when the addon is up to date. LLMKIT_CUDA_ARCHITECTURES="80;90a" builds for fewer chips.
// --emulated builds build/llmkit_cuda_emulated.node instead: the same addon on a device that is emulated on
// the host (kernels/cuda/emulator), which the tests load.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { build, findNvcc, install, isCurrent, ROOT } from './native-build.js';

/** The folder of the CPU's addon, whose kernels are linked here too. */
const SHARED = path.join(ROOT, 'build', 'cmake');

function buildEmulated() {
  const target = path.join(ROOT, 'build', 'llmkit_cuda_emulated.node');
  if (isCurrent(target)) return;
  if (!existsSync(path.join(ROOT, 'build', 'llmkit.node'))) {
    process.stdout.write('skipped: the emulated CUDA device (the addon is not built)\n');
    return;
  }
  const started = new Date();
  const flags = ['-DLLMKIT_TESTS=ON', '-DLLMKIT_SANITIZE='];
  build({ folder: SHARED, flags, targets: ['addon_cuda_emulated'] });
  install(path.join(SHARED, 'llmkit_cuda_emulated.node'), target, started);
}

/** The kernels of the CPU, which some functions of the addon and its tests use. */
function cpuKernels() {
  const library = path.join(SHARED, 'libkernels.a');
  const flags = existsSync(SHARED) ? [] : ['-DLLMKIT_SANITIZE='];
  build({ folder: SHARED, flags, targets: ['kernels'] });
  return library;
}

function buildForGpus(nvcc) {
  const target = path.join(ROOT, 'build', 'llmkit_cuda.node');
  if (isCurrent(target)) return;
  const started = new Date();
  const folder = path.join(ROOT, 'build', 'cuda');
  const flags = [
    '-DLLMKIT_CUDA=ON',
    `-DLLMKIT_KERNELS=${cpuKernels()}`,
    `-DCMAKE_CUDA_COMPILER=${nvcc}`,
  ];
  const chips = process.env.LLMKIT_CUDA_ARCHITECTURES;
  if (chips) flags.push(`-DLLMKIT_CUDA_ARCHITECTURES=${chips}`);
  build({ folder, flags, targets: ['addon_cuda', 'llmkit_cuda_test'] });
  install(path.join(folder, 'llmkit_cuda.node'), target, started);
}

const nvcc = findNvcc();
if (process.argv.includes('--emulated')) buildEmulated();
else if (nvcc === undefined)
  process.stdout.write('skipped: the addon of NVIDIA GPUs (there is no nvcc 12)\n');
else buildForGpus(nvcc);
