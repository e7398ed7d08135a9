import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import {
  type InstallRecord,
  managedPaths,
  TFJS_NODE_VERSION,
  type TfjsNode,
} from '../../tensor/backends/managed.js';
import { sha256OfFile } from '../manifest.js';
import { VERSION } from '../version.js';
import { bindingOf, buildBinding, buildOpLibrary } from './build.js';
import type { BackendCheck } from './check.js';
import { checkInstalled } from './installed-check.js';
import { sha256OfKernels } from './kernels-hash.js';
import { PID_FILE } from './leftovers.js';
import { type LibrarySource, layOutDeps, libraryPaths } from './library.js';
import { installPackage } from './package.js';
import { downloadWheel } from './wheel.js';

/** What an install is made of. */
export interface FillOptions {
  readonly gpu: boolean;
  /** Left out: pip downloads a wheel. */
  readonly library?: LibrarySource | undefined;
  /** The program whose `backend check` tries the result. */
  readonly program: string;
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: (step: number, steps: number, what: string) => void;
}

/** The wheel with TensorFlow's library. */
export function wheelName(gpu: boolean): string {
  return gpu ? 'tensorflow' : 'tensorflow-cpu';
}

/**
 * Makes a complete install in an empty folder, and tries it out.
 *
 * @throws LlmkitError `unsupported` with the step that failed
 */
export async function fillInstall(
  folder: string,
  options: FillOptions,
): Promise<{ readonly record: InstallRecord; readonly check: BackendCheck }> {
  const { gpu, program, signal } = options;
  const name: TfjsNode = gpu ? '@tensorflow/tfjs-node-gpu' : '@tensorflow/tfjs-node';
  const paths = managedPaths(folder);
  const packageFolder = join(paths.modules, name);
  const scratch = await emptyFolder(join(folder, 'scratch'));
  await writeFile(join(folder, PID_FILE), String(process.pid));
  const step = steps(options);
  step(`npm install ${name}`);
  await installPackage(`${name}@${TFJS_NODE_VERSION}`, folder, signal);
  step(options.library === undefined ? `pip download ${wheelName(gpu)}` : 'reading the library');
  const download = await emptyFolder(join(scratch, 'download'));
  const library = options.library ?? {
    kind: 'wheel',
    path: await downloadWheel(wheelName(gpu), download, signal),
  };
  const sha256 = library.kind === 'wheel' ? await sha256OfFile(library.path) : null;
  step(`unpacking ${basename(library.path)}`);
  const unpacked = await emptyFolder(join(scratch, 'unpacked'));
  const deps = join(packageFolder, 'deps');
  await layOutDeps(library, { deps, scratch: unpacked }, { allHeaders: gpu, signal });
  step('building the binding');
  await buildBinding(packageFolder, await emptyFolder(join(scratch, 'binding')), signal);
  step("building llmkit's ops");
  const ops = await emptyFolder(join(scratch, 'ops'));
  await buildOpLibrary({ deps, scratch: ops, target: paths.opLibrary, gpu }, signal);
  await rm(scratch, { recursive: true });
  step('checking a 4-bit product');
  const check = await checkInstalled({ folder, program, signal });
  const libraries = [bindingOf(packageFolder), ...libraryPaths(deps), paths.opLibrary];
  const record: InstallRecord = {
    package: name,
    package_version: TFJS_NODE_VERSION,
    tensorflow_version: check.versions?.tensorflow ?? '',
    source: library.kind === 'wheel' ? basename(library.path) : library.path,
    wheel_sha256: sha256,
    library_bytes: await sizesOf(libraries, folder),
    ...(await builder()),
  };
  await writeFile(paths.record, `${JSON.stringify(record, null, 2)}\n`);
  return { record, check };
}

/** What installs, and when. */
async function builder() {
  return {
    llmkit_version: VERSION,
    kernels_sha256: await sha256OfKernels(),
    node_version: process.version,
    installed_at: new Date().toISOString(),
  };
}

const STEPS = 6;

function steps({ onStep }: FillOptions): (what: string) => void {
  let done = 0;
  return (what) => onStep?.(++done, STEPS, what);
}

async function sizesOf(libraries: readonly string[], folder: string) {
  const sizes: Record<string, number> = {};
  for (const path of libraries) sizes[relative(folder, path)] = (await stat(path)).size;
  return sizes;
}

async function emptyFolder(path: string): Promise<string> {
  await mkdir(path, { recursive: true });
  return path;
}
