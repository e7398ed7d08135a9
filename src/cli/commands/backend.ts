import * as z from 'zod';
import type { InstallResult } from '../../workflows/backend/install.js';
import type { BackendStatus, CudaStatus } from '../../workflows/backend.js';
import { defineCommand, type Io } from '../command.js';

const shape = {
  action: z.enum(['list', 'install', 'check', 'remove']).default('list'),
  name: z.string().optional(),
  gpu: z.boolean().default(false),
  from: z.string().optional(),
  force: z.boolean().default(false),
  dry_run: z.boolean().default(false),
};

/** `llmkit backend`: what computes, and why not; installs TensorFlow. */
export const backend = defineCommand({
  name: 'backend',
  summary: 'Show which backends load on this machine, and why not; install TensorFlow',
  description:
    'list     every backend: versions, devices, which ops have kernels, why one does not load\n' +
    "install  tensorflow: @tensorflow/tfjs-node with a current TensorFlow's library and llmkit's ops,\n" +
    '         built here (with npm, Python with pip, CMake and a C++17 compiler) and kept in\n' +
    '         LLMKIT_HOME (~/.cache/llmkit) once a 4-bit product has come out right on it; 1.3 GB\n' +
    'check    computes a 4-bit product on a backend (native: with --device) and compares it with\n' +
    '         plain arithmetic\n' +
    'remove   tensorflow: undoes install',
  arguments: [
    { key: 'action', name: 'ACTION', description: 'list, install, check or remove' },
    { key: 'name', name: 'NAME', description: 'of the backend: tensorflow' },
  ],
  shape,
  flags: {
    gpu: { description: 'install: tfjs-node-gpu and the TensorFlow for CUDA' },
    from: {
      value: 'DIR',
      description:
        "install: a TensorFlow wheel, a folder with one, an unpacked one's, or the C library's; left out: pip downloads a wheel",
    },
    force: { description: 'install: replace one that works' },
    dry_run: { description: 'install: look for what is needed and print the plan; write nothing' },
  },
  examples: [
    { command: 'llmkit backend list', does: 'what computes on this machine' },
    { command: 'llmkit backend install tensorflow', does: 'TensorFlow, for --backend tensorflow' },
    {
      command: 'llmkit backend install tensorflow --from ./wheels',
      does: 'from a wheel that was downloaded elsewhere',
    },
    { command: 'llmkit backend remove tensorflow', does: 'undo it' },
  ],
  check(config, problem) {
    const { action, name } = config;
    if (action === 'list' && name !== undefined) problem('name', 'belongs to the other actions');
    if (action !== 'list' && name === undefined) problem('name', 'is missing');
    if ((action === 'install' || action === 'remove') && (name ?? 'tensorflow') !== 'tensorflow') {
      problem('name', `must be tensorflow (the only one to ${action}), got '${name}'`);
    }
    if (action === 'install') return;
    for (const key of ['gpu', 'from', 'force', 'dry_run'] as const) {
      if (config[key] !== shape[key].parse(undefined)) problem(key, 'belongs to install');
    }
  },
  savesWhenInterrupted: true,
  async run(config, io) {
    const { action, name = '' } = config;
    if (action === 'list') await list(io);
    else if (action === 'check') await check(name, config.device, io);
    else if (action === 'remove') await remove(io);
    else await install(config, io);
    return 0;
  },
});

async function list(io: Io): Promise<void> {
  const { describeBackends, VERSION } = await import('../../workflows/backend.js');
  const backends = await describeBackends();
  if (io.json) return io.printJson({ llmkit: VERSION, node: process.version, backends });
  for (const status of backends) {
    const [first, ...more] = statusLines(status);
    io.stdout(`${status.name.padEnd(11)} ${status.loads ? 'loads  ' : 'missing'}  ${first}\n`);
    for (const line of more) io.stdout(`${' '.repeat(21)}${line}\n`);
  }
}

/** What there is to say about a backend; a reason of several lines stays so. */
function statusLines(status: BackendStatus): readonly string[] {
  const { detail, compute = {}, versions = {}, folder, kernels = [], composed = [] } = status;
  const lines = detail.split('\n');
  const types = Object.entries(compute).map(([type, isa]) => `${type} ${isa}`);
  if (types.length > 0) lines.push(`products: ${types.join(', ')}; ${threadsOf(status)}`);
  const libraries = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  if (libraries.length > 0) lines.push(libraries.join(', '));
  if (folder !== undefined) lines.push(`in ${folder}`);
  if (status.warning !== undefined) lines.push(`warning: ${status.warning}`);
  if (status.loads) lines.push(`ops with kernels: ${opNames(kernels, composed)}`);
  if (status.cuda !== undefined) {
    lines.push(cudaLine(status.cuda), ...warpgroupLine(status.cuda), ...otherGpus(status.cuda));
  }
  return lines;
}

/** What there is to say about the GPU; `cuda: ` begins the reasons too. */
function cudaLine(status: CudaStatus): string {
  const { gpu, driver, detail = '', tested_at: tested, never_run } = status;
  const neverRun = "compiled, never run on this build's hardware";
  if (gpu === undefined) return never_run ? `${detail} (${neverRun})` : detail;
  const free = `${gibibytes(gpu.freeBytes)} of ${gibibytes(gpu.memoryBytes)} GiB free`;
  const by = driver === undefined ? 'the driver' : `driver ${driver}`;
  const versions = `CUDA ${gpu.driverCuda} by ${by}, built with ${gpu.runtime} (driver ${gpu.leastDriver} or newer)`;
  const state = gpu.emulated
    ? 'emulated on the host'
    : tested === undefined
      ? neverRun
      : `tests passed ${tested.slice(0, 10)}`;
  return `cuda: ${gpu.name}, ${free}, compute capability ${gpu.computeCapability}, ${versions}: ${state}`;
}

/** What a GPU of compute capability 9.0 trains and infers with. */
function warpgroupLine({ gpu }: CudaStatus): readonly string[] {
  if (gpu === undefined || gpu.warpgroups === 'none') return [];
  const what = "cuda: wgmma gives mma.sync's bits";
  const bits = {
    'same-bits': 'yes; it makes products of many rows in bf16',
    'other-bits':
      'no; it serves training, as bf16-wgmma, and bf16 is mma.sync for any number of rows',
    unknown:
      'not known, for want of memory to compare them; bf16 is mma.sync for any number of rows',
  };
  return [`${what}: ${bits[gpu.warpgroups]}`];
}

/** The GPUs behind the first, which is the one that is used. */
function otherGpus({ gpu }: CudaStatus): readonly string[] {
  return (gpu?.shown ?? []).slice(1).map(({ name, memoryBytes, computeCapability }) => {
    const what = `${name}, ${gibibytes(memoryBytes)} GiB, compute capability ${computeCapability}`;
    return `cuda: ${what}: not used (CUDA_VISIBLE_DEVICES chooses another than the first)`;
  });
}

function gibibytes(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(1);
}

function threadsOf({ device }: BackendStatus): string {
  const count = device?.threads ?? 1;
  return count === 1 ? '1 thread' : `${count} threads`;
}

function opNames(kernels: readonly string[], composed: readonly string[]): string {
  const count = kernels.length + composed.length;
  if (composed.length === 0) return `all ${count}`;
  if (kernels.length === 0) return `none of ${count}; they are composed of tfjs's own`;
  const names = kernels.map((name) => name.replace(/^Llmkit/, ''));
  return `${kernels.length} of ${count} (${names.join(', ')}); the others are composed of tfjs's own`;
}

async function check(name: string, device: string, io: Io): Promise<void> {
  const { checkBackend } = await import('../../workflows/backend/check.js');
  const result = await checkBackend(name, device);
  if (io.json) return io.printJson(result);
  io.stdout(
    `${result.detail}: a 4-bit product and its gradient are right within ` +
      `${result.max_difference.toExponential(1)} (allowed ${result.allowed_difference.toExponential(1)})\n`,
  );
}

async function remove(io: Io): Promise<void> {
  const { removeTensorflow } = await import('../../workflows/backend/remove.js');
  const result = await removeTensorflow();
  if (io.json) io.printJson(result);
  else if (result.action === 'removed') io.stdout(`removed ${result.folder}\n`);
  else io.stdout(`nothing is installed in ${result.folder}\n`);
}

/** What `install` is told by flags. */
interface InstallFlags {
  readonly gpu: boolean;
  readonly from?: string | undefined;
  readonly force: boolean;
  readonly dry_run: boolean;
}

async function install({ gpu, from, force, dry_run }: InstallFlags, io: Io): Promise<void> {
  const { installTensorflow } = await import('../../workflows/backend/install.js');
  let bar: ReturnType<Io['progress']> | undefined;
  try {
    const result = await installTensorflow({
      ...{ gpu, from, force, dryRun: dry_run, signal: io.signal },
      program: process.argv[1] ?? '',
      onStep(step, steps, what) {
        bar ??= io.progress('installing', steps, 'steps');
        bar.update(step, what);
      },
      onNote: (text) => io.note(`backend install: ${text}`),
    });
    bar?.end();
    if (gpu && result.device === 'cpu') io.warn(NO_GPU);
    if (io.json) io.printJson(result);
    else io.stdout(installReport(result));
  } finally {
    bar?.end();
  }
}

const NO_GPU =
  'TensorFlow finds no GPU and computes on the CPU: it needs a driver, and the CUDA and cuDNN libraries of its ' +
  'version where the loader finds them (LD_LIBRARY_PATH)';

function installReport(result: InstallResult): string {
  const { action, folder, source, tensorflow_version: version, max_difference: error } = result;
  const what = `${result.package} ${result.package_version}`;
  if (version === undefined || error === undefined) {
    return `${action} ${what} into ${folder}\nwith TensorFlow's library from ${source}\n`;
  }
  const where = action === 'present' ? 'there already' : action;
  return (
    `${where}: ${what} with TensorFlow ${version} (${source}) in ${folder}\n` +
    `a 4-bit product is right within ${error.toExponential(1)}; use it with --backend tensorflow\n`
  );
}
