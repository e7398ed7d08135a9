import { copyFile, mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { exists } from '../../checkpoint/hub-cache.js';
import { LlmkitError } from '../../errors.js';
import { packageRoot } from '../../tensor/backends/package-root.js';
import { VERSIONS } from './library-check.js';
import { runTool, type Tool } from './tool.js';

/** CMake, which finds the compiler. */
export const CMAKE: Tool = {
  command: 'cmake',
  args: [],
  missing: "it builds TensorFlow's binding and ops: install CMake and a C++17 compiler",
};

/** The Node-API version of tfjs-node's binding: the newest it knows. */
const NAPI_VERSION = 8;

/**
 * Builds tfjs-node's binding against the library in its `deps` folder.
 *
 * @param packageFolder of tfjs-node; its `deps` lies ready
 * @param scratch an empty folder
 * @throws LlmkitError `unsupported` with the compiler's last lines
 */
export async function buildBinding(
  packageFolder: string,
  scratch: string,
  signal?: AbortSignal,
): Promise<void> {
  const source = await kernelSources('tfjs-binding');
  await cmake({ source, scratch, signal, target: 'tfjs_binding' }, [
    `-DTFJS_NODE=${packageFolder}`,
  ]);
  const binding = bindingOf(packageFolder);
  await mkdir(dirname(binding), { recursive: true });
  await copyFile(join(scratch, 'tfjs_binding.node'), binding);
}

/** Where tfjs-node looks for its binding. */
export function bindingOf(packageFolder: string): string {
  return join(packageFolder, 'lib', `napi-v${NAPI_VERSION}`, 'tfjs_binding.node');
}

/**
 * Builds llmkit's ops for TensorFlow against the library in tfjs-node's `deps` folder. The kernels that the native
 * addon was built of are linked where they lie ready, brought up to date: compiling them takes minutes.
 *
 * @param scratch an empty folder
 * @param target the addon to write
 * @param gpu with kernels for TensorFlow's GPU device, where nvcc is found
 * @throws LlmkitError `unsupported` with the compiler's last lines
 */
export async function buildOpLibrary(
  { deps, scratch, target, gpu }: { deps: string; scratch: string; target: string; gpu: boolean },
  signal?: AbortSignal,
): Promise<void> {
  const source = await kernelSources('.');
  const kernels = await builtKernels(signal);
  const flags = [
    `-DLLMKIT_TENSORFLOW_DIR=${deps}`,
    `-DLLMKIT_TENSORFLOW_GPU=${gpu ? 'ON' : 'OFF'}`,
    `-DLLMKIT_KERNELS=${kernels ?? ''}`,
  ];
  try {
    await cmake({ source, scratch, signal, target: 'llmkit_tensorflow' }, flags);
  } catch (error) {
    if (!(error instanceof LlmkitError)) throw error;
    const what = "llmkit's ops do not build against this TensorFlow's headers";
    throw new LlmkitError('unsupported', `${what} (${VERSIONS}): ${error.message}`, {
      cause: error,
    });
  }
  await copyFile(join(scratch, 'llmkit_tensorflow.node'), target);
}

/** libkernels.a of the native addon's build, of today's sources; undefined where there was none or it fails. */
async function builtKernels(signal?: AbortSignal): Promise<string | undefined> {
  const build = join(packageRoot(), 'build', 'cmake');
  if (!(await exists(join(build, 'libkernels.a')))) return undefined;
  try {
    const jobs = String(availableParallelism());
    await runTool(CMAKE, ['--build', build, '--target', 'kernels', '-j', jobs], { signal });
    return join(build, 'libkernels.a');
  } catch {
    signal?.throwIfAborted();
    return undefined;
  }
}

/** One build of a CMake project's target. */
interface CmakeRun {
  readonly source: string;
  readonly scratch: string;
  readonly target: string;
  readonly signal?: AbortSignal | undefined;
}

async function cmake({ source, scratch, target, signal }: CmakeRun, flags: readonly string[]) {
  // The projects ask Node where the headers of Node-API are: this one, where no other is found.
  const env = { PATH: `${process.env.PATH ?? ''}${delimiter}${dirname(process.execPath)}` };
  const configure = ['-S', source, '-B', scratch, '-DCMAKE_BUILD_TYPE=Release', ...flags];
  await runTool(CMAKE, configure, { env, signal });
  const jobs = String(availableParallelism());
  await runTool(CMAKE, ['--build', scratch, '--target', target, '-j', jobs], { env, signal });
}

/** A CMake project of llmkit's own sources. */
async function kernelSources(name: string): Promise<string> {
  const folder = join(packageRoot(), 'kernels', name);
  if (await exists(join(folder, 'CMakeLists.txt'))) return folder;
  throw new LlmkitError(
    'unsupported',
    `${folder} is not there: the tensorflow backend is built from llmkit's sources (a clone of its repository)`,
  );
}
