// The instructions that make the hot CUDA kernels fast, looked for in the code that was built for each chip.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { findNvcc, isThere, ROOT } from './native-build.js';

/** What must be found in the code of a file: in SASS, or where it cannot be shown in PTX. */
const INSTRUCTIONS = {
  products: { sass: /HMMA/, ptx: /mma\.sync/ },
  copies: { sass: /LDGSTS/, ptx: /cp\.async/ },
  matrices: { sass: /LDSM/, ptx: /ldmatrix/ },
  warpgroups: { sass: /HGMMA/, ptx: /wgmma\.mma_async/, chip: '90a' },
  groupCopies: { sass: /LDGSTS/, ptx: /cp\.async/, chip: '90a' },
  bulkCopies: { sass: /UBLKCP/, ptx: /cp\.async\.bulk\.shared/, chip: '90a' },
  boxes: { sass: /UTMALDG/, ptx: /cp\.async\.bulk\.tensor/, chip: '90a' },
};
/** The files whose kernels most of the time goes to. */
export const HOT = [
  { file: 'packed_linear/few.cu', has: ['products', 'copies'] },
  { file: 'packed_linear/many.cu', has: ['products', 'copies', 'matrices'] },
  { file: 'packed_linear/grad_input.cu', has: ['products', 'copies', 'matrices'] },
  { file: 'packed_linear/many_sm90.cu', has: ['warpgroups', 'bulkCopies'] },
  { file: 'packed_linear/grad_input_sm90.cu', has: ['warpgroups', 'bulkCopies'] },
  { file: 'gemm_bf16/gemm_bf16.cu', has: ['products', 'copies', 'matrices'] },
  { file: 'gemm_bf16/warpgroups.cu', has: ['warpgroups', 'boxes'] },
  { file: 'attention/forward_bf16.cu', has: ['products', 'copies', 'matrices'] },
  { file: 'attention/forward_sm90.cu', has: ['warpgroups', 'groupCopies'] },
  { file: 'attention/backward_bf16.cu', has: ['products', 'copies', 'matrices'] },
  { file: 'attention/backward_sm90.cu', has: ['warpgroups', 'groupCopies'] },
  { file: 'attention/parts_bf16.cu', has: ['products', 'copies', 'matrices'] },
];

/** The SASS of an object by chip: '90a'. */
function sassByChip(object) {
  const dump = spawnSync('cuobjdump', ['--dump-sass', object], {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  }).stdout;
  const codes = new Map();
  for (const part of (dump ?? '').split(/^arch = sm_/m).slice(1)) {
    const [chip] = /^\w+/.exec(part) ?? [''];
    codes.set(chip, (codes.get(chip) ?? '') + part);
  }
  return codes;
}

/** The PTX of a source, for one chip; nothing, and what nvcc says, where it makes none. */
async function ptxOf(file, chip) {
  const folder = mkdtempSync(path.join(tmpdir(), 'llmkit-ptx-'));
  const ptx = path.join(folder, 'kernels.ptx');
  const kernels = path.join(ROOT, 'kernels');
  const options = ['-std=c++17', '-fmad=false', `-arch=compute_${chip}`, '-I', kernels, '-o', ptx];
  const source = path.join(kernels, 'cuda', file);
  try {
    await promisify(execFile)(findNvcc(), ['--ptx', ...options, source]);
    return readFileSync(ptx, 'utf8');
  } catch (error) {
    process.stderr.write(error.stderr ?? `${error.message}\n`);
    return '';
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A file's instructions that the SASS of a chip lacks. */
function missingInSass({ file, has }, objects, chips) {
  const codes = sassByChip(path.join(objects, `${file}.o`));
  return has.flatMap((name) => {
    const { sass, chip: only } = INSTRUCTIONS[name];
    return chips
      .filter((chip) => only === undefined || chip === only)
      .filter((chip) => !sass.test(codes.get(chip) ?? ''))
      .map((chip) => `${file} has no ${sass} in its SASS for sm_${chip}`);
  });
}

/** The same of PTX, which is one for all chips but those that have instructions of their own. */
async function missingInPtx({ file, has }, chips) {
  const codes = new Map();
  const missing = [];
  for (const name of has) {
    const { ptx, chip = '80' } = INSTRUCTIONS[name];
    if (chip !== '80' && !chips.includes(chip)) continue;
    if (!codes.has(chip)) codes.set(chip, await ptxOf(file, chip));
    if (!ptx.test(codes.get(chip))) missing.push(`${file} has no ${ptx} in its PTX for sm_${chip}`);
  }
  return missing;
}

/** The same of all hot files; a compiler for each processor. */
async function allMissingInPtx(chips) {
  const missing = HOT.map(() => []);
  const left = HOT.keys();
  const work = async () => {
    for (const i of left) missing[i] = await missingInPtx(HOT[i], chips);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return missing.flat();
}

/**
 * What the code of the hot kernels lacks.
 *
 * @param objects the folder of the built objects
 * @param chips that they were built for
 * @returns messages, and what was looked at
 */
export async function missingInstructions(objects, chips) {
  if (isThere('cuobjdump')) {
    const missing = HOT.flatMap((each) => missingInSass(each, objects, chips));
    return { missing, used: 'SASS, by cuobjdump' };
  }
  return { missing: await allMissingInPtx(chips), used: 'PTX, for there is no cuobjdump' };
}
