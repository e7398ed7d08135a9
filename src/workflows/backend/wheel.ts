import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LlmkitError } from '../../errors.js';
import { runTool, type Tool } from './tool.js';

/** Python, which comes with pip, reads the wheel: its zipfile checks every byte's checksum. */
export const PYTHON: Tool = {
  command: 'python3',
  args: [],
  missing:
    'Python 3 with pip fetches and unpacks the wheel: install it, or unpack a TensorFlow wheel or the C library ' +
    'of TensorFlow elsewhere and give the folder with --from',
};

/** What `unpackWheel` takes at most, unpacked: twice the largest wheel there is. */
const MAX_BYTES = 8 * 2 ** 30;

/** Writes the wanted entries of a wheel; names of entries never decide where outside the folder a file lies. */
const UNPACK = `
import os, shutil, sys, zipfile, zlib
wheel, folder, limit, prefixes = sys.argv[1], sys.argv[2], int(sys.argv[3]), tuple(sys.argv[4:])
def safe(name):
    return '\\\\' not in name and all(part not in ('', '.', '..') for part in name.split('/'))
try:
    with zipfile.ZipFile(wheel) as archive:
        entries = [one for one in archive.infolist()
                   if one.filename.startswith(prefixes) and not one.is_dir()]
        for entry in entries:
            if not safe(entry.filename):
                sys.exit(f'its entry {entry.filename!r} is no path inside it')
        needed = sum(entry.file_size for entry in entries)
        if needed > limit:
            sys.exit(f'its files are {needed} bytes unpacked, of {limit} at most')
        if needed > shutil.disk_usage(folder).free:
            sys.exit(f'its files need {needed} bytes of free disk space')
        for entry in entries:
            path = os.path.join(folder, *entry.filename.split('/'))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(entry) as source, open(path, 'xb') as target:
                shutil.copyfileobj(source, target, 1 << 20)
except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
    sys.exit(f'{type(error).__name__}: {error}')
`;

/**
 * Downloads the newest wheel of a package that suits this machine.
 *
 * @param folder gets the wheel and nothing else
 * @returns the wheel's path
 * @throws LlmkitError `unsupported` where there is no Python, no pip or no such wheel
 */
export async function downloadWheel(
  name: string,
  folder: string,
  signal?: AbortSignal,
): Promise<string> {
  const download = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--dest', folder];
  try {
    await runTool(PYTHON, [...download, name], { signal });
  } catch (error) {
    if (!(error instanceof LlmkitError) || signal?.aborted) throw error;
    throw new LlmkitError('unsupported', `no wheel of ${name}: ${error.message}\n${mend(name)}`, {
      cause: error,
    });
  }
  const wheels = (await readdir(folder)).filter((file) => file.endsWith('.whl'));
  if (wheels.length !== 1) {
    throw new LlmkitError('unsupported', `pip download ${name}: expected one wheel, got ${wheels}`);
  }
  return join(folder, wheels[0] ?? '');
}

/** A wheel for another Python holds the same library. */
function mend(name: string): string {
  return (
    'A wheel for any version of Python will do: where this one has none, `python3 -m pip download --no-deps ' +
    `--only-binary=:all: --python-version 3.12 ${name}\` may, on this machine or another with the network; ` +
    'then give its folder with --from'
  );
}

/**
 * Unpacks the entries of a wheel whose names begin with one of the prefixes.
 *
 * @throws LlmkitError `unsupported` for a file that is damaged, no wheel, or too large
 */
export async function unpackWheel(
  wheel: string,
  folder: string,
  options: { readonly prefixes: readonly string[]; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const args = ['-c', UNPACK, wheel, folder, String(MAX_BYTES), ...options.prefixes];
  try {
    await runTool(PYTHON, args, { signal: options.signal });
  } catch (error) {
    if (!(error instanceof LlmkitError) || options.signal?.aborted) throw error;
    throw new LlmkitError('unsupported', `${wheel}: cannot be unpacked: ${error.message}`, {
      cause: error,
    });
  }
}
