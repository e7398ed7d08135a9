// Builds the native addon with CMake: kernels/ -> build/llmkit.node. Exits 0 when it is up to date.
// --tests also builds and runs the C++ tests, --sanitize does so under the address and
// undefined-behaviour sanitizers, --sanitize=thread under the thread sanitizer. --arm cross-compiles for
// 64-bit Arm where there is a compiler for it, with --tests also runs the tests there, emulated.
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { build, install, isCurrent, isThere, ROOT, run } from './native-build.js';

const target = path.join(ROOT, 'build', 'llmkit.node');
const tests = process.argv.includes('--tests');
const sanitize = sanitizers();
const arm = process.argv.includes('--arm');
const folder = path.join(ROOT, 'build', arm ? 'arm' : sanitize ? `sanitize-${sanitize}` : 'cmake');

const ARM_COMPILER = 'aarch64-linux-gnu-g++';
const ARM_FLAGS = [
  '-DCMAKE_SYSTEM_NAME=Linux',
  '-DCMAKE_SYSTEM_PROCESSOR=aarch64',
  `-DCMAKE_CXX_COMPILER=${ARM_COMPILER}`,
  '-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-cpu;max;-L;/usr/aarch64-linux-gnu',
];

/** The sanitizers asked for, as the compiler names them; '' without. */
function sanitizers() {
  if (process.argv.includes('--sanitize=thread')) return 'thread';
  return process.argv.includes('--sanitize') ? 'address,undefined' : '';
}

if (arm && !isThere(ARM_COMPILER)) {
  process.stdout.write(`skipped: building for Arm (there is no ${ARM_COMPILER})\n`);
} else if (tests && !arm && !existsSync(target)) {
  process.stdout.write('skipped: the tests of the kernels (the addon is not built)\n');
} else if (tests || sanitize || arm || !isCurrent(target)) {
  const started = new Date();
  const flags = [`-DLLMKIT_TESTS=${tests ? 'ON' : 'OFF'}`, `-DLLMKIT_SANITIZE=${sanitize}`];
  if (arm) flags.push(...ARM_FLAGS);
  build({ folder, flags });
  if (!sanitize && !arm) install(path.join(folder, 'llmkit.node'), target, started);
  if (tests || sanitize) {
    const jobs = String(availableParallelism());
    const report = run('ctest', ['--test-dir', folder, '--output-on-failure', '-j', jobs]);
    const summary = report.split('\n').filter((line) => /tests passed|Total Test time/.test(line));
    process.stdout.write(`kernels: ${summary.join(', ')}\n`);
  }
}
