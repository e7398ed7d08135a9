// `npm run check:cuda`: what can be proved of the CUDA kernels without a GPU. The hot kernels keep their
// registers on every chip they were built for, the instructions that make them fast are in them, and the addon
// loads and says what is missing. Then the tests of the kernels, which run where there is a GPU. Exits 1 when
// something does not hold; says `skipped: ...` where a tool lacks.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { HOT, missingInstructions } from './instructions.js';
import { ROOT } from './native-build.js';

const FOLDER = path.join(ROOT, 'build', 'cuda');
const OBJECTS = path.join(FOLDER, 'CMakeFiles', 'cuda_kernels.dir', 'cuda');
const ADDON = path.join(ROOT, 'build', 'llmkit_cuda.node');

let failures = 0;
function fail(message) {
  failures += 1;
  process.stdout.write(`FAIL ${message}\n`);
}

/** What ptxas said of each kernel and chip. */
function kernelsIn(messages) {
  const entry =
    /Compiling entry function '(\S+)' for 'sm_(\w+)'\n.*\n\s+(\d+) bytes stack frame, (\d+) bytes spill/g;
  return [...messages.matchAll(entry)].map(([, kernel, chip, stack, spills]) => ({
    kernel,
    chip,
    bytes: Math.max(Number(stack), Number(spills)),
  }));
}

/** No hot kernel keeps registers in memory, others that do are counted; no products of warpgroups are serialized. */
function checkSpills() {
  const files = readdirSync(OBJECTS, { recursive: true }).filter((f) => f.endsWith('.messages'));
  const chips = new Set();
  const others = new Set();
  let count = 0;
  for (const name of files) {
    const file = name.replace(/\.o\.messages$/, '');
    const messages = readFileSync(path.join(OBJECTS, name), 'utf8');
    if (/wgmma\S* instructions are serialized/.test(messages))
      fail(`${file}: products of warpgroups wait for each other`);
    for (const found of kernelsIn(messages)) {
      count += 1;
      chips.add(found.chip);
      if (found.bytes === 0) continue;
      if (HOT.some((each) => each.file === file))
        fail(`${file}: ${found.kernel} has ${found.bytes} bytes on the stack, sm_${found.chip}`);
      else others.add(file);
    }
  }
  for (const { file } of HOT)
    if (!files.includes(`${file}.o.messages`)) fail(`${file} was not built`);
  const rest =
    others.size === 0 ? 'none uses the stack' : `not hot, with a stack: ${[...others].join(', ')}`;
  process.stdout.write(`registers: ${count} kernels of sm_${[...chips].join(', ')}; ${rest}\n`);
  return chips;
}

/** The hot kernels use tensor cores, copies that no thread waits for, and loads of whole matrices, on every chip. */
async function checkInstructions(chips) {
  const { missing, used } = await missingInstructions(OBJECTS, [...chips]);
  for (const message of missing) fail(message);
  process.stdout.write(`instructions: ${HOT.length} files looked at (${used})\n`);
}

/** The addon loads on any machine; where no GPU can be used it says why. */
function checkAddon() {
  try {
    const { name } = createRequire(import.meta.url)(ADDON).deviceInfo();
    process.stdout.write(`addon: ${name}\n`);
  } catch (error) {
    process.stdout.write(`addon: ${error.message}\n`);
    if (!/driver|device|GPU/.test(error.message)) fail('the addon does not say what is missing');
  }
}

/** The tests of the kernels: a table, or why they were skipped. */
function runTests() {
  const tests = path.join(FOLDER, 'llmkit_cuda_test');
  const { status } = spawnSync(tests, { stdio: 'inherit' });
  if (status !== 0) fail('the tests of the kernels');
}

if (!existsSync(ADDON) || !existsSync(OBJECTS)) {
  process.stdout.write('skipped: the checks of the CUDA kernels (llmkit_cuda.node is not built)\n');
} else {
  await checkInstructions(checkSpills());
  checkAddon();
  runTests();
  process.exitCode = failures === 0 ? 0 : 1;
}
