// Builds the native addon with CMake: kernels/ -> build/llmkit.node. Exits 0 when it is up to date.
// --tests also builds and runs the C++ tests, --sanitize does so under the address and
// undefined-behaviour sanitizers, --sanitize=thread under the thread sanitizer. --arm cross-compiles for
// 64-bit Arm where there is a compiler for it, with --tests also runs the tests there, emulated.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const sources = path.join(root, 'kernels');
const target = path.join(root, 'build', 'llmkit.node');
const tests = process.argv.includes('--tests');
const sanitize = sanitizers();
const arm = process.argv.includes('--arm');
const folder = path.join(root, 'build', arm ? 'arm' : sanitize ? `sanitize-${sanitize}` : 'cmake');

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

/** When the newest file below a folder was written. */
function newest(directory) {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Math.max(...files.map((f) => statSync(path.join(f.parentPath ?? f.path, f.name)).mtimeMs));
}

function isThere(command) {
  return spawnSync(command, ['--version']).status === 0;
}

function isCurrent() {
  const built = statSync(target, { throwIfNoEntry: false });
  return built !== undefined && built.mtimeMs > newest(sources);
}

/** Runs a command quietly, ends with its output when it fails. @returns what it printed */
function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (result.status === 0) return result.stdout;
  const reason = result.error ? `${result.error.message}\n` : '';
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}${reason}`);
  process.stderr.write(`build-addon: ${command} ${args.join(' ')} failed\n`);
  process.exit(1);
}

/**
 * Replaces the addon at once: a process that has it loaded keeps its own file. It is dated when the build
 * began, so that sources changed meanwhile count as newer.
 */
function install(started) {
  const temporary = `${target}.${process.pid}`;
  copyFileSync(path.join(folder, 'llmkit.node'), temporary);
  utimesSync(temporary, started, started);
  renameSync(temporary, target);
}

if (arm && !isThere(ARM_COMPILER)) {
  process.stdout.write(`skipped: building for Arm (there is no ${ARM_COMPILER})\n`);
} else if (tests && !arm && !existsSync(target)) {
  process.stdout.write('skipped: the tests of the kernels (the addon is not built)\n');
} else if (tests || sanitize || arm || !isCurrent()) {
  const started = new Date();
  mkdirSync(folder, { recursive: true });
  const flags = ['-DCMAKE_BUILD_TYPE=Release', `-DLLMKIT_TESTS=${tests ? 'ON' : 'OFF'}`];
  if (arm) flags.push(...ARM_FLAGS);
  run('cmake', ['-S', sources, '-B', folder, ...flags, `-DLLMKIT_SANITIZE=${sanitize}`]);
  run('cmake', ['--build', folder, '-j', String(availableParallelism())]);
  if (!sanitize && !arm) install(started);
  if (tests || sanitize) {
    const report = run('ctest', ['--test-dir', folder, '--output-on-failure']);
    const summary = report.split('\n').filter((line) => /tests passed|Total Test time/.test(line));
    process.stdout.write(`kernels: ${summary.join(', ')}\n`);
  }
}
