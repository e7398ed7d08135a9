import Module, { createRequire } from 'node:module';
import { join, sep } from 'node:path';
import util from 'node:util';
import { LlmkitError } from '../../../errors.js';
import { damageOf, managedPaths } from '../managed.js';
import { coreForPackage } from './core-for-package.js';
import { bindingOf, type FoundPackage } from './find-package.js';
import type { NodeBackendClass, TensorflowBinding } from './node-backend.js';

/** A package of TensorFlow for Node, loaded: its kernels are registered with our tfjs-core. */
export interface LoadedPackage extends FoundPackage {
  readonly binding: TensorflowBinding;
  readonly Backend: NodeBackendClass;
}

/** The engine that its files are written for. */
const SUPPORTED_MAJOR = '4';

/**
 * Loads the addon and the kernels of a package, but not its index.js: that wants all of
 * `@tensorflow/tfjs`, and makes itself the backend in use.
 *
 * @throws LlmkitError `unsupported` when it does not load, saying why
 */
export function loadPackage(found: FoundPackage): LoadedPackage {
  if (found.version.split('.')[0] !== SUPPORTED_MAJOR) {
    throw unloadable(found, `expected version ${SUPPORTED_MAJOR}, got ${found.version}`);
  }
  const binding = bindingOf(found);
  if (binding === undefined) {
    throw unloadable(found, 'its addon is not built: npm did not run its install script');
  }
  const damage = damageOf(managedPaths(), found.folder);
  if (damage !== undefined) throw unloadable(found, damage);
  // TensorFlow's notes on the processor, at its first use, would be taken for ours.
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '1';
  const require = createRequire(join(found.folder, 'package.json'));
  try {
    return { ...found, binding: require(binding), Backend: requireKernels(require, found) };
  } catch (cause) {
    // A missing module's message goes on with a list of files.
    const [why = ''] = String(cause instanceof Error ? cause.message : cause).split('\n');
    throw unloadable(found, why, cause);
  }
}

function unloadable({ name, folder }: FoundPackage, why: string, cause?: unknown): LlmkitError {
  return new LlmkitError('unsupported', `${name} in ${folder} does not load: ${why}`, { cause });
}

/**
 * Runs the package's files with other modules in place of three that they require: tfjs twice, so that
 * there is one engine with one registry of kernels, and `util`, which has lost functions that they call.
 */
function requireKernels(require: NodeJS.Require, { folder }: FoundPackage): NodeBackendClass {
  const modules = require.cache;
  const isOfPackage = (path: string) => path.startsWith(folder + sep) && !path.endsWith('.node');
  const core = coreForPackage();
  const ours: Readonly<Record<string, object>> = {
    [require.resolve('@tensorflow/tfjs')]: core,
    [require.resolve('@tensorflow/tfjs-core')]: core,
    util: utilForPackage(),
  };
  // A program that has loaded the package itself keeps its own copy.
  const theirs = Object.entries(modules).filter(([path]) => isOfPackage(path) || path in ours);
  for (const [path] of theirs) delete modules[path];
  try {
    for (const [path, exports] of Object.entries(ours)) modules[path] = moduleOf(path, exports);
    require('./dist/register_all_kernels.js');
    return require('./dist/nodejs_kernel_backend.js').NodeJSKernelBackend;
  } finally {
    for (const path of Object.keys(modules)) {
      if (isOfPackage(path) || path in ours) delete modules[path];
    }
    Object.assign(modules, Object.fromEntries(theirs));
  }
}

function moduleOf(path: string, exports: object): NodeJS.Module {
  return Object.assign(new Module(path), { exports, loaded: true });
}

/** `util` with what Node 23 took out of it. */
function utilForPackage(): object {
  return { ...util, isNullOrUndefined: (x: unknown) => x == null, isArray: Array.isArray };
}
