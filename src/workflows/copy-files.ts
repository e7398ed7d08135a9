import { copyFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MANIFEST_FILE } from './manifest.js';

/** Files that hold weights, in any format, or say where weights lie. */
const WEIGHTS =
  /\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|gguf|ggml|onnx|npz|tflite|llmkit)$|\.index\.json$/i;

/**
 * Copies every file of a checkpoint's folder that holds no weights, byte for byte; links are followed.
 *
 * @param except names that the caller writes itself
 * @returns the names of the copied files
 */
export async function copyOtherFiles(
  from: string,
  to: string,
  except: readonly string[] = [],
): Promise<string[]> {
  const copied: string[] = [];
  for (const name of await readdir(from)) {
    if (WEIGHTS.test(name) || name === MANIFEST_FILE || except.includes(name)) continue;
    if (!(await stat(join(from, name))).isFile()) continue;
    await copyFile(join(from, name), join(to, name));
    copied.push(name);
  }
  return copied;
}
