import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { packageRoot } from '../../tensor/backends/package-root.js';

/** A sha256 over the names and bytes of the sources that ops are built from, in hexadecimal. */
export async function sha256OfKernels(): Promise<string> {
  const root = join(packageRoot(), 'kernels');
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  const sources = entries.filter((one) => one.isFile() && !one.name.endsWith('.md'));
  const paths = sources.map((one) => join(one.parentPath, one.name));
  const hash = createHash('sha256');
  for (const path of paths.sort()) {
    hash.update(`${relative(root, path)}\0`).update(await readFile(path));
  }
  return hash.digest('hex');
}
