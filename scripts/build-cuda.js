// --emulated builds build/llmkit_cuda_emulated.node: the same addon on a device that is emulated on the host
// (kernels/cuda/emulator), which the tests load. Exits 0 when it is up to date.
import path from 'node:path';
import { build, install, isCurrent, ROOT } from './native-build.js';

/** In the folder of the CPU's addon, whose kernels it shares. */
function buildEmulated() {
  const target = path.join(ROOT, 'build', 'llmkit_cuda_emulated.node');
  if (isCurrent(target)) return;
  const started = new Date();
  const folder = path.join(ROOT, 'build', 'cmake');
  const flags = ['-DLLMKIT_TESTS=ON', '-DLLMKIT_SANITIZE='];
  build({ folder, flags, target: 'addon_cuda_emulated' });
  install(path.join(folder, 'llmkit_cuda_emulated.node'), target, started);
}

buildEmulated();
