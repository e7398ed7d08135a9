import { readFileSync, realpathSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve, sep } from 'node:path';

/** A package of TensorFlow's binding for Node. */
export type TfjsNode = '@tensorflow/tfjs-node' | '@tensorflow/tfjs-node-gpu';

/** The release of either package that llmkit installs: the last there is. */
export const TFJS_NODE_VERSION = '4.22.0';

/** Both packages, the one for GPUs first: the order in which a backend looks for them. */
export const TFJS_NODE_PACKAGES: readonly TfjsNode[] = [
  '@tensorflow/tfjs-node-gpu',
  '@tensorflow/tfjs-node',
];

/** What `llmkit backend install tensorflow` made, as it wrote it down (install.json). */
export interface InstallRecord {
  readonly package: TfjsNode;
  readonly package_version: string;
  /** TensorFlow's own version: '2.21.0'. */
  readonly tensorflow_version: string;
  /** Where its library came from: the name of a wheel, or a folder. */
  readonly source: string;
  /** Of the wheel; null when the library came from a folder. */
  readonly wheel_sha256: string | null;
  readonly llmkit_version: string;
  /** Bytes of the libraries, by their paths in the folder. */
  readonly library_bytes: Readonly<Record<string, number>>;
  /** Over the sources that llmkit's ops were built from. */
  readonly kernels_sha256: string;
  /** Node's version that built the binding. */
  readonly node_version: string;
  /** ISO 8601. */
  readonly installed_at: string;
}

/** The files of an installed tensorflow backend. */
export interface ManagedPaths {
  readonly folder: string;
  /** node_modules of the installed package. */
  readonly modules: string;
  /** llmkit's ops for TensorFlow, a Node addon. */
  readonly opLibrary: string;
  /** The {@link InstallRecord}. */
  readonly record: string;
}

/** LLMKIT_HOME, else `llmkit` in the user's cache folder: what llmkit itself installs lies below it. */
export function llmkitHome(env: NodeJS.ProcessEnv = process.env): string {
  const cache = env.XDG_CACHE_HOME || join(homedir(), '.cache');
  return resolve(env.LLMKIT_HOME || join(cache, 'llmkit'));
}

/** Where `llmkit backend install tensorflow` puts its result. */
export function installFolder(): string {
  return join(llmkitHome(), 'backends', 'tensorflow');
}

/**
 * The files of what is installed, or of another folder made the same way, such as the one that
 * LLMKIT_TENSORFLOW names.
 */
export function managedPaths(
  folder = resolve(process.env.LLMKIT_TENSORFLOW || installFolder()),
): ManagedPaths {
  return {
    folder,
    modules: join(folder, 'node_modules'),
    opLibrary: join(folder, 'llmkit_tensorflow.node'),
    record: join(folder, 'install.json'),
  };
}

/** What install.json says; undefined where nothing is installed or it cannot be read. */
export function readInstallRecord({ record }: ManagedPaths): InstallRecord | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(record, 'utf8'));
    return typeof value === 'object' && value !== null ? (value as InstallRecord) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * What is wrong with the libraries that lie at or below a path of an install: the system ends a process that loads
 * one which is cut off.
 */
export function damageOf(paths: ManagedPaths, path: string): string | undefined {
  const sizes = Object.entries(readInstallRecord(paths)?.library_bytes ?? {});
  const wanted = real(path);
  for (const [name, bytes] of sizes) {
    const library = join(real(paths.folder), name);
    if (library !== wanted && !library.startsWith(wanted + sep)) continue;
    const found = statSync(library, { throwIfNoEntry: false })?.size;
    if (found === undefined) return `${library} is missing`;
    if (found !== bytes) return `${library}: expected ${bytes} bytes, got ${found}`;
  }
  return undefined;
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
