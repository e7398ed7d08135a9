import { open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { exists } from '../../checkpoint/hub-cache.js';
import { LlmkitError } from '../../errors.js';

/** What this processor is called in ELF files, and in the names of wheels. */
const PROCESSORS: Readonly<Record<string, { readonly elf: number; readonly wheel: string }>> = {
  x64: { elf: 62, wheel: 'x86_64' },
  arm64: { elf: 183, wheel: 'aarch64' },
};

/** The oldest TensorFlow that tfjs-node's binding is for, and the one that llmkit is tested with. */
const OLDEST = [2, 9] as const;
export const VERSIONS = `needs ${OLDEST.join('.')} or newer, tested with 2.21`;

/** What the binding and llmkit's ops include of the C API. */
const HEADERS = ['c_api.h', 'eager/c_api.h', 'kernels.h', 'ops.h'];

/**
 * Refuses a wheel by its name, before it is unpacked: one of another system or processor, or of a TensorFlow that is
 * too old. Its version of Python does not matter.
 *
 * @throws LlmkitError `usage`
 */
export function expectWheelFor(path: string, processor: string = process.arch): void {
  // name-version(-build)-python-abi-platform.whl, see PEP 427
  const tags = /^[^-]+-([^-]+)(?:-\d[^-]*)?-[^-]+-[^-]+-([^-]+)\.whl$/.exec(basename(path));
  if (tags === null) return;
  const [, version = '', platform = ''] = tags;
  const wanted = PROCESSORS[processor]?.wheel ?? processor;
  if (platform !== 'any' && !(platform.includes('linux') && platform.endsWith(wanted))) {
    throw new LlmkitError(
      'usage',
      `--from ${path}: expected a wheel for linux ${wanted}, got one for ${platform}; ` +
        'without --from pip downloads one that fits',
    );
  }
  if (isTooOld(version)) {
    throw new LlmkitError('usage', `--from ${path}: ${VERSIONS}, got TensorFlow ${version}`);
  }
}

function isTooOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]);
}

/**
 * Checks what `layOutDeps` has made before minutes go into building against it.
 *
 * @throws LlmkitError `unsupported` for libraries of another system or processor, and for missing headers
 */
export async function expectUsable(deps: string, libraries: readonly string[]): Promise<void> {
  for (const path of libraries) await expectLibrary(path);
  const missing: string[] = [];
  for (const name of HEADERS) {
    const header = join('include', 'tensorflow', 'c', name);
    if (!(await exists(join(deps, header)))) missing.push(header);
  }
  if (missing.length === 0) return;
  throw new LlmkitError(
    'unsupported',
    `TensorFlow's headers: expected ${missing.join(', ')}, which this TensorFlow comes without; ${VERSIONS}: the wheel ` +
      'that pip downloads has them all',
  );
}

/** The first bytes of an ELF file name the processor that it is for. */
async function expectLibrary(path: string, processor: string = process.arch): Promise<void> {
  const head = Buffer.alloc(20);
  const file = await open(path);
  try {
    await file.read(head, 0, head.length, 0);
  } finally {
    await file.close();
  }
  const machine = head.toString('latin1', 0, 4) === '\x7fELF' ? head.readUInt16LE(18) : undefined;
  if (machine === PROCESSORS[processor]?.elf) return;
  const names = Object.entries(PROCESSORS).map(([name, { elf }]) => [elf, name] as const);
  const got =
    machine === undefined
      ? 'a file that is none'
      : `one for ${new Map(names).get(machine) ?? `processor ${machine}`}`;
  throw new LlmkitError(
    'unsupported',
    `${basename(path)}: expected a library of Linux for ${processor}, got ${got}`,
  );
}
