// The C++ tests of the CUDA kernels on a GPU: plainly, and under compute-sanitizer where there is one.
import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { findNvcc, isThere } from './native-build.js';

const TOOLS = ['memcheck', 'racecheck'];

/** Where a command of the path is. */
function whereIs(command) {
  if (path.isAbsolute(command)) return command;
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  return folders.map((folder) => path.join(folder, command)).find(existsSync) ?? command;
}

/** compute-sanitizer of the path, or beside nvcc. */
function findSanitizer() {
  const nvcc = findNvcc();
  const folders = nvcc === undefined ? [] : [path.dirname(realpathSync(whereIs(nvcc)))];
  const beside = folders.map((folder) => path.join(folder, 'compute-sanitizer'));
  return ['compute-sanitizer', ...beside].find(isThere);
}

function passes(command, args, env = process.env) {
  return spawnSync(command, args, { stdio: 'inherit', env }).status === 0;
}

function skipped(what, why) {
  process.stdout.write(`skipped: ${what}: ${why}\n`);
  return [];
}

/**
 * Runs a program of tests, as `llmkit_cuda_test` is, and says what it skips.
 *
 * @param isEmulated whether there is no GPU, but a device emulated on the host
 * @returns what failed, in words
 */
export function testKernels(program, isEmulated) {
  const tests = 'the C++ tests of the kernels';
  if (isEmulated) return skipped(tests, 'there is no GPU (npm run test:kernels emulates one)');
  if (!existsSync(program)) return skipped(tests, `${program} is not built`);
  process.stdout.write(`${tests} on the GPU\n`);
  const failures = passes(program, []) ? [] : [tests];
  const sanitizer = findSanitizer();
  if (sanitizer === undefined)
    return [
      ...failures,
      ...skipped(`${tests} with ${TOOLS.join(' and ')}`, 'no compute-sanitizer'),
    ];
  // Failed calls of CUDA are reported too (--report-api-errors is left as it is): no test expects one, what the
  // launchers refuse they refuse before any call.
  // The program tests each op in a process of its own. A sanitizer sees a hazard in few runs as in a hundred.
  const env = { ...process.env, LLMKIT_RUNS: '2' };
  for (const tool of TOOLS) {
    process.stdout.write(`${tests} under compute-sanitizer's ${tool}\n`);
    const flags = ['--tool', tool, '--target-processes', 'all', '--error-exitcode', '1'];
    if (!passes(sanitizer, [...flags, program], env)) failures.push(`${tests} under ${tool}`);
  }
  return failures;
}
