import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Checkpoint } from './checkpoint.js';

/** One call may not hash more than 2 GiB. */
const PIECE_BYTES = 2 ** 26;

/**
 * Identity of a checkpoint's weights: sha256 (hex) over the sorted (name, dtype, shape, sha256 of bytes) of all
 * tensors, each as a line of JSON. Sharding and file names do not matter.
 */
export async function identityOf(checkpoint: Checkpoint): Promise<string> {
  const identity = createHash('sha256');
  const tensors = [...checkpoint.tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, dtype, shape } of tensors) {
    const line = [name, dtype, shape, sha256(checkpoint.bytes(name))];
    identity.update(`${JSON.stringify(line)}\n`);
    await setImmediate(); // lets signals and progress through
  }
  return identity.digest('hex');
}

function sha256(bytes: Uint8Array): string {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    hash.update(bytes.subarray(at, at + PIECE_BYTES));
  }
  return hash.digest('hex');
}
