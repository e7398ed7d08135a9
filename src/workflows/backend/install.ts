import { access, constants, lstat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { exists } from '../../checkpoint/hub-cache.js';
import { checkFreeDisk, writeFolder } from '../../checkpoint/output.js';
import { LlmkitError } from '../../errors.js';
import {
  type InstallRecord,
  installFolder,
  type ManagedPaths,
  managedPaths,
  readInstallRecord,
  TFJS_NODE_VERSION,
  type TfjsNode,
} from '../../tensor/backends/managed.js';
import { CMAKE } from './build.js';
import type { BackendCheck } from './check.js';
import { fillInstall, wheelName } from './fill.js';
import { checkInstalled } from './installed-check.js';
import { sha256OfKernels } from './kernels-hash.js';
import { removeLeftovers } from './leftovers.js';
import { findLibrary, type LibrarySource } from './library.js';
import { npm } from './package.js';
import { runTool, type Tool } from './tool.js';
import { PYTHON } from './wheel.js';

/** What to install, and how. */
export interface InstallOptions {
  /** tfjs-node-gpu and a TensorFlow for CUDA. */
  readonly gpu: boolean;
  /** A wheel, or a folder with TensorFlow's library; left out: pip downloads a wheel. */
  readonly from?: string | undefined;
  readonly force: boolean;
  /** Looks for what is needed and says what it would do. */
  readonly dryRun: boolean;
  /** The program whose `backend check` tries the result: bin/llmkit.js. */
  readonly program: string;
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: (step: number, steps: number, what: string) => void;
  readonly onNote?: (text: string) => void;
}

/** What `backend install` did; the keys are those of `--json`. */
export interface InstallResult {
  readonly action: 'installed' | 'replaced' | 'present' | 'would install' | 'would replace';
  readonly folder: string;
  readonly package: TfjsNode;
  readonly package_version: string;
  /** Where TensorFlow's library came from, or would. */
  readonly source: string;
  readonly tensorflow_version?: string;
  readonly device?: 'cpu' | 'gpu';
  /** Largest error of the 4-bit product that it was checked with. */
  readonly max_difference?: number;
  readonly seconds?: number;
}

/** Disk space for the package, the wheel and what is unpacked of it. */
const NEEDED_BYTES = { cpu: 2e9, gpu: 6e9 };

/**
 * Installs tfjs-node with a current TensorFlow under it: complete and tried out, or not at all. What is installed
 * already and works is left alone without `force`; a broken install is replaced.
 *
 * @throws LlmkitError `unsupported` where something it needs is missing or fails; `usage`
 */
export async function installTensorflow(options: InstallOptions): Promise<InstallResult> {
  const startMs = Date.now();
  const { from, gpu, force, dryRun, signal } = options;
  if (process.platform !== 'linux') throw notHere(packageOf(gpu));
  const paths = managedPaths(installFolder());
  const present = force ? undefined : await presentInstall(paths, options);
  if (present !== undefined) {
    if (from !== undefined) options.onNote?.(`--from ${from} is not used; --force replaces this`);
    return present;
  }
  const library = from === undefined ? undefined : await findLibrary(resolve(from));
  await checkTools(library, signal);
  await expectWritable(paths.folder);
  await checkFreeDisk(paths.folder, NEEDED_BYTES[gpu ? 'gpu' : 'cpu']);
  const replaces = (await lstat(paths.folder).catch(() => undefined)) !== undefined;
  if (dryRun) return plan(paths, { gpu, library, replaces });
  await removeLeftovers(paths.folder);
  let result: InstallResult | undefined;
  await writeFolder(paths.folder, { owned: true }, async (staging) => {
    const { record, check } = await fillInstall(staging, { ...options, library });
    const action = replaces ? 'replaced' : 'installed';
    result = { action, folder: paths.folder, ...factsOf(record), ...factsOfCheck(check) };
  });
  return { ...(result as unknown as InstallResult), seconds: (Date.now() - startMs) / 1000 };
}

function packageOf(gpu: boolean): TfjsNode {
  return gpu ? '@tensorflow/tfjs-node-gpu' : '@tensorflow/tfjs-node';
}

function notHere(name: TfjsNode): LlmkitError {
  return new LlmkitError(
    'unsupported',
    `backend install: builds on Linux only, got ${process.platform}; \`npm install ${name}\` in your project brings ` +
      'a ready one, which `--backend tensorflow` finds',
  );
}

/** What is installed and works; undefined where nothing is, or it is broken. */
async function presentInstall(
  paths: ManagedPaths,
  { gpu, program, signal, onNote }: InstallOptions,
): Promise<InstallResult | undefined> {
  const record = readInstallRecord(paths);
  if (record === undefined) return undefined;
  if (record.package !== packageOf(gpu)) {
    throw new LlmkitError(
      'usage',
      `backend install: expected ${packageOf(gpu)}, got ${record.package} in ${paths.folder}; --force replaces it`,
    );
  }
  if (record.kernels_sha256 !== (await sha256OfKernels())) {
    onNote?.("llmkit's kernels have changed since: installing it anew");
    return undefined;
  }
  try {
    const check = await checkInstalled({ folder: paths.folder, program, signal });
    const facts = { ...factsOf(record), ...factsOfCheck(check) };
    return { action: 'present', folder: paths.folder, ...facts };
  } catch (error) {
    if (!(error instanceof LlmkitError) || signal?.aborted) throw error;
    onNote?.(`what is installed does not work, installing it anew: ${error.message}`);
    return undefined;
  }
}

/** Finds out before anything is fetched whether the folder can be made. */
async function expectWritable(folder: string): Promise<void> {
  let parent = dirname(folder);
  while (!(await exists(parent))) parent = dirname(parent);
  try {
    await access(parent, constants.W_OK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new LlmkitError(
      'unsupported',
      `backend install: ${folder}: expected a folder that can be written, got ${code} for ${parent}; LLMKIT_HOME names ` +
        'another place',
      { cause },
    );
  }
}

/** Looks for every program that the install will run, before hundreds of megabytes are fetched. */
async function checkTools(library: LibrarySource | undefined, signal?: AbortSignal): Promise<void> {
  const needed: [Tool, readonly string[]][] = [
    [npm(), ['--version']],
    [CMAKE, ['--version']],
  ];
  if (library === undefined) needed.push([PYTHON, ['-m', 'pip', '--version']]);
  if (library?.kind === 'wheel') needed.push([PYTHON, ['--version']]);
  const problems: string[] = [];
  for (const [tool, args] of needed) {
    await runTool(tool, args, { signal }).catch((error) => {
      if (!(error instanceof LlmkitError) || signal?.aborted) throw error;
      problems.push(error.message);
    });
  }
  if (problems.length > 0) {
    throw new LlmkitError('unsupported', `backend install: ${problems.join('\n')}`);
  }
}

function plan(
  { folder }: ManagedPaths,
  {
    gpu,
    library,
    replaces,
  }: { gpu: boolean; library?: LibrarySource | undefined; replaces: boolean },
): InstallResult {
  return {
    action: replaces ? 'would replace' : 'would install',
    folder,
    package: packageOf(gpu),
    package_version: TFJS_NODE_VERSION,
    source: library?.path ?? `pip download ${wheelName(gpu)}`,
  };
}

function factsOf(record: InstallRecord) {
  const { package: name, package_version, tensorflow_version, source } = record;
  return { package: name, package_version, tensorflow_version, source };
}

function factsOfCheck({ device, max_difference }: BackendCheck) {
  return { max_difference, ...(device && { device: device.type }) };
}
