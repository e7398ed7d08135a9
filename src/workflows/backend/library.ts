import { copyFile, cp, mkdir, readdir, rename, stat, symlink } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { exists } from '../../checkpoint/hub-cache.js';
import { LlmkitError } from '../../errors.js';
import { expectUsable, expectWheelFor, VERSIONS } from './library-check.js';
import { unpackWheel } from './wheel.js';

/** Where TensorFlow's library is taken from. */
export type LibrarySource =
  | { readonly kind: 'wheel'; readonly path: string }
  | {
      readonly kind: 'folder';
      readonly path: string;
      readonly include: string;
      /** The library with TensorFlow's C API. */
      readonly library: string;
      readonly framework: string;
    };

/** Names of the library with the C API: a wheel's, and the C library's. */
const LIBRARIES = ['libtensorflow_cc.so.2', 'libtensorflow.so.2'];
const FRAMEWORK = 'libtensorflow_framework.so.2';
/** What the binding and ops in C include, in the versions since 2.9. */
const C_HEADERS = [
  'tensorflow/c/',
  'tensorflow/core/platform/',
  'tensorflow/tsl/',
  'tsl/',
  'xla/tsl/',
];

/** Which files of TensorFlow are wanted. */
export interface LayoutOptions {
  /** Every header, for ops in C++, not only those of the C API. */
  readonly allHeaders: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds TensorFlow's library: in a wheel, in a folder that holds one, in the `tensorflow` folder of an unpacked or
 * installed wheel, or in the C library's folder (include/, lib/).
 *
 * @throws LlmkitError `usage` where there is none, more than one wheel, or one that cannot do
 */
export async function findLibrary(from: string): Promise<LibrarySource> {
  const info = await stat(from).catch(() => undefined);
  if (info === undefined) throw new LlmkitError('usage', `--from ${from}: is not there`);
  if (info.isFile()) return wheelAt(from);
  for (const path of [from, join(from, 'tensorflow')]) {
    const found = (await libraryIn(path, path)) ?? (await libraryIn(path, join(path, 'lib')));
    if (found !== undefined) return found;
  }
  const wheels = (await readdir(from)).filter((name) => /^tensorflow.*\.whl$/.test(name));
  if (wheels.length === 1) return wheelAt(join(from, wheels[0] ?? ''));
  const got = wheels.length > 1 ? wheels.join(' and ') : await similarFiles(from);
  throw new LlmkitError(
    'usage',
    `--from ${from}: expected one TensorFlow wheel, or the files of one or of TensorFlow's C library (include/ with ` +
      `tensorflow/c/c_api.h, ${LIBRARIES.join(' or ')} and ${FRAMEWORK}; ${VERSIONS}), got ${got}`,
  );
}

function wheelAt(path: string): LibrarySource {
  expectWheelFor(path);
  return { kind: 'wheel', path };
}

/** What a folder has of a TensorFlow that is another, or is not whole. */
async function similarFiles(from: string): Promise<string> {
  const found: string[] = [];
  for (const folder of ['', 'lib', 'tensorflow', 'include']) {
    const names = await readdir(join(from, folder)).catch(() => []);
    const similar = names.filter((name) => /^libtensorflow|^tensorflow$/.test(name));
    found.push(...similar.map((name) => join(folder, name)));
  }
  return found.length > 0 ? `only ${found.join(', ')}` : 'none of these';
}

async function libraryIn(path: string, libraries: string): Promise<LibrarySource | undefined> {
  const include = join(path, 'include');
  const framework = join(libraries, FRAMEWORK);
  if (!(await exists(join(include, 'tensorflow', 'c', 'c_api.h')))) return undefined;
  if (!(await exists(framework))) return undefined;
  for (const name of LIBRARIES) {
    const library = join(libraries, name);
    if (await exists(library)) return { kind: 'folder', path, include, library, framework };
  }
  return undefined;
}

/**
 * Makes the `deps` folder that tfjs-node builds and runs with: include/, and lib/ with the two libraries under
 * every name that they are asked for.
 *
 * @param scratch an empty folder on the same file system
 * @throws LlmkitError `unsupported` for a wheel that is damaged or has no C library, and for a library that cannot do
 */
export async function layOutDeps(
  source: LibrarySource,
  folders: { readonly deps: string; readonly scratch: string },
  options: LayoutOptions,
): Promise<void> {
  const { deps, scratch } = folders;
  const isWheel = source.kind === 'wheel';
  const from = isWheel ? await unpack(source.path, scratch, options) : source;
  const take = isWheel ? rename : copyFile;
  const [include, lib] = [join(deps, 'include'), join(deps, 'lib')];
  await mkdir(lib, { recursive: true });
  await (isWheel ? rename(from.include, include) : copyHeaders(from.include, include, options));
  await take(from.library, join(lib, 'libtensorflow_cc.so.2'));
  for (const name of ['libtensorflow.so', 'libtensorflow.so.2', 'libtensorflow.so.2.9.1']) {
    await symlink('libtensorflow_cc.so.2', join(lib, name));
  }
  await take(from.framework, join(lib, FRAMEWORK));
  await symlink(FRAMEWORK, join(lib, 'libtensorflow_framework.so'));
  await expectUsable(deps, libraryPaths(deps));
  options.signal?.throwIfAborted();
}

/** The libraries that `layOutDeps` puts into a `deps` folder. */
export function libraryPaths(deps: string): readonly string[] {
  return [LIBRARIES[0] ?? '', FRAMEWORK].map((name) => join(deps, 'lib', name));
}

async function unpack(wheel: string, scratch: string, { allHeaders, signal }: LayoutOptions) {
  const headers = allHeaders ? [''] : C_HEADERS;
  const prefixes = [
    ...headers.map((prefix) => `tensorflow/include/${prefix}`),
    ...[...LIBRARIES, FRAMEWORK].map((name) => `tensorflow/${name}`),
  ];
  await unpackWheel(wheel, scratch, { prefixes, signal });
  const path = join(scratch, 'tensorflow');
  const found = await libraryIn(path, path);
  if (found?.kind === 'folder') return found;
  throw new LlmkitError(
    'unsupported',
    `${basename(wheel)}: expected ${LIBRARIES[0]}, ${FRAMEWORK} and the headers of the C API, got a wheel without; ` +
      "old versions' have none: for one of those, give the folder of its C library with --from",
  );
}

async function copyHeaders(from: string, to: string, { allHeaders }: LayoutOptions) {
  const wanted = (path: string) => {
    const name = relative(from, path).split(sep).join('/');
    return C_HEADERS.some(
      (prefix) => `${name}/`.startsWith(prefix) || prefix.startsWith(`${name}/`),
    );
  };
  await cp(from, to, {
    recursive: true,
    dereference: true,
    filter: (path) => allHeaders || path === from || wanted(path),
  });
}
