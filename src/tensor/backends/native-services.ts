import { LlmkitError } from '../../errors.js';
import type { Addon } from './addon.js';
import type { Elements } from './arrays.js';
import { loadAddon } from './native.js';

// What the native addon does for files, whatever backend computes.

/** Whether the native addon loads, which serves files and quantization whatever backend computes. */
export function addonLoads(): boolean {
  try {
    loadAddon();
    return true;
  } catch (error) {
    throwUsage(error);
    return false;
  }
}

/**
 * Maps a file, or what it has of a range, into memory, privately and copy-on-write, until nothing refers to the bytes
 * any more.
 *
 * @returns undefined where the addon does not load
 */
export function mapFile(
  path: string,
  ...range: [] | [offset: number, sizeBytes: number]
): Uint8Array | undefined {
  return addonLoads() ? new Uint8Array(loadAddon().mapFile(path, ...range)) : undefined;
}

/**
 * Copies values between float32 and bf16 (a Uint16Array of its bits), rounded to the nearest, ties to even.
 *
 * @returns false, having done nothing, where the addon does not load
 */
export function convertNatively(from: Elements<Float32Array>, to: Elements<Float32Array>): boolean {
  if (!addonLoads()) return false;
  loadAddon().convert(from, to);
  return true;
}

/** `hashRanges` of the addon; null where it does not load, too. */
export function hashRanges(...args: Parameters<Addon['hashRanges']>) {
  return addonLoads() ? loadAddon().hashRanges(...args) : null;
}

/** `writeDirect` of the addon, which must load. */
export function writeDirect(...args: Parameters<Addon['writeDirect']>): Promise<void> {
  return loadAddon().writeDirect(...args);
}

/** Lets go of the memory behind bytes of a mapped file until they are read again. */
export function releasePages(bytes: Uint8Array): void {
  loadAddon().releasePages(bytes);
}

/** Threads that a computation has: the addon's, or JavaScript's one. */
export function threadsAtHand(): number {
  try {
    return loadAddon().threads();
  } catch (error) {
    throwUsage(error);
    return 1;
  }
}

/** A mistake of the user's is no reason to do without the addon. */
function throwUsage(error: unknown): void {
  if (error instanceof LlmkitError && error.code === 'usage') throw error;
}
