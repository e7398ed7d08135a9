// What the builds of the native addons share: CMake, quietly, and the replacement of a built file.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, renameSync, statSync, utimesSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const KERNELS = path.join(ROOT, 'kernels');

/** When the newest file below a folder was written. */
function newest(directory) {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Math.max(...files.map((f) => statSync(path.join(f.parentPath ?? f.path, f.name)).mtimeMs));
}

/** Whether a file is newer than all sources. */
export function isCurrent(target) {
  const built = statSync(target, { throwIfNoEntry: false });
  return built !== undefined && built.mtimeMs > newest(KERNELS);
}

export function isThere(command) {
  return spawnSync(command, ['--version']).status === 0;
}

/**
 * Runs a command quietly, ends the process with its output when it fails.
 *
 * @returns what it printed
 */
export function run(command, args) {
  const result = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.status === 0) return result.stdout;
  const reason = result.error ? `${result.error.message}\n` : '';
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}${reason}`);
  process.stderr.write(`${path.basename(process.argv[1])}: ${command} ${args.join(' ')} failed\n`);
  process.exit(1);
}

/** Configures a folder and builds all of it, or some targets. */
export function build({ folder, flags, targets = [] }) {
  mkdirSync(folder, { recursive: true });
  run('cmake', ['-S', KERNELS, '-B', folder, '-DCMAKE_BUILD_TYPE=Release', ...flags]);
  const only = targets.length > 0 ? ['--target', ...targets] : [];
  run('cmake', ['--build', folder, '-j', String(availableParallelism()), ...only]);
}

/** nvcc of version 12 or newer: of the path, CUDA_HOME, or where it is installed. */
export function findNvcc() {
  const folders = [process.env.CUDA_HOME, process.env.CUDA_PATH, '/usr/local/cuda'];
  const installed = folders.filter(Boolean).map((folder) => path.join(folder, 'bin', 'nvcc'));
  return ['nvcc', ...installed].find((nvcc) => {
    const { stdout } = spawnSync(nvcc, ['--version'], { encoding: 'utf8' });
    return Number(/release (\d+)\./.exec(stdout ?? '')?.[1]) >= 12;
  });
}

/**
 * Replaces an addon at once: a process that has it loaded keeps its own file. It is dated when the build
 * began, so that sources changed meanwhile count as newer.
 */
export function install(built, target, started) {
  const temporary = `${target}.${process.pid}`;
  copyFileSync(built, temporary);
  utimesSync(temporary, started, started);
  renameSync(temporary, target);
}
