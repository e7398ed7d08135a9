import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { temporaryFolder } from './helpers.js';

// What the scripts of the CUDA kernels do with the programs of a toolkit, which fakes stand in for.

/** Shell scripts by name. */
type Fakes = Readonly<Record<string, string>>;

/** What a function of a script returns and prints where these are the only programs. */
function call(script: string, expression: string, fakes: Fakes) {
  const bin = temporaryFolder();
  for (const [name, lines] of Object.entries(fakes)) {
    writeFileSync(join(bin, name), `#!/bin/sh\nPATH=/bin:/usr/bin\n${lines}\n`, { mode: 0o755 });
  }
  const url = pathToFileURL(join('scripts', script)).href;
  const code = `const s = await import('${url}'); const bin = '${bin}';
    console.log('=' + JSON.stringify(${expression}));`;
  const env = { ...process.env, PATH: bin, CUDA_HOME: bin, CUDA_PATH: '', LLMKIT_RUNS: '' };
  const args = ['--input-type=module', '--eval', code];
  const [printed = '', returned = ''] = execFileSync(process.execPath, args, {
    env,
    encoding: 'utf8',
  }).split(/^=/m);
  return { printed, returned: JSON.parse(returned) };
}

const TESTS = 'echo "ran with $LLMKIT_RUNS"';
const SANITIZER = `
[ "$1" = --version ] && exit
echo "$*"
while [ $# -gt 1 ]; do [ "$2" = racecheck ] && failing=1; shift; done
"$1"; exit $failing`;
const NVCC = 'echo "release 99.0"';

test('on a GPU the C++ tests run, then under both tools of compute-sanitizer', () => {
  const fakes = { llmkit_cuda_test: TESTS, 'compute-sanitizer': SANITIZER, nvcc: NVCC };
  const { printed, returned } = call(
    'kernel-tests.js',
    "s.testKernels(bin + '/llmkit_cuda_test', false)",
    fakes,
  );
  expect(printed.match(/^ran with .*$/gm)).toEqual(['ran with ', 'ran with 2', 'ran with 2']);
  const flags = '--target-processes all --error-exitcode 1';
  expect(printed).toContain(`--tool memcheck ${flags}`);
  expect(printed).toContain(`--tool racecheck ${flags}`);
  expect(returned).toEqual(['the C++ tests of the kernels under racecheck']);
});

test.each([
  [
    'false',
    { llmkit_cuda_test: TESTS },
    ['ran with '],
    /with memcheck and racecheck: no compute-s/,
  ],
  ['false', {}, null, /llmkit_cuda_test is not built/],
  ['true', { llmkit_cuda_test: TESTS }, null, /there is no GPU/],
] as const)('emulated %s, with %j: says what it skips', (emulated, fakes, ran, reason) => {
  const { printed, returned } = call(
    'kernel-tests.js',
    `s.testKernels(bin + '/llmkit_cuda_test', ${emulated})`,
    // An nvcc of its own, or the machine's might have a sanitizer beside it.
    { ...fakes, nvcc: NVCC },
  );
  expect(printed.match(/^ran with .*$/gm)).toEqual(ran);
  expect(printed).toMatch(/^skipped: the C\+\+ tests of the kernels/m);
  expect(printed).toMatch(reason);
  expect(returned).toEqual([]);
});

test('instructions are looked for in the code of each chip', () => {
  const all = 'HMMA LDGSTS LDSM HGMMA UBLKCP UTMALDG';
  const cuobjdump = `[ "$1" = --version ] && exit
    printf 'arch = sm_80\\n${all}\\narch = sm_86\\nLDGSTS LDSM\\narch = sm_90a\\n${all}\\n'`;
  const look = (chips: string) =>
    call('instructions.js', `await s.missingInstructions('objects', ${chips})`, { cuobjdump })
      .returned;
  expect(look("['80', '90a']")).toEqual({ missing: [], used: 'SASS, by cuobjdump' });
  const { missing } = look("['80', '86', '90a']");
  expect(missing).toHaveLength(7);
  expect(missing[0]).toBe('packed_linear/few.cu has no /HMMA/ in its SASS for sm_86');
  expect(look("['100']").missing).toContain(
    'packed_linear/few.cu has no /LDGSTS/ in its SASS for sm_100',
  );
});
