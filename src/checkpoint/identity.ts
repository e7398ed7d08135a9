import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Checkpoint } from './checkpoint.js';
import type { Dtype } from './dtype.js';

/** Hashed at one time: a few milliseconds, so that signals, progress and other work get through. */
const PIECE_BYTES = 2 ** 22;

/** What the identity of a checkpoint knows of a tensor. */
export interface HashedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Of its bytes, hex. */
  readonly sha256: string;
}

/**
 * Identity of a checkpoint's weights: sha256 (hex) over the sorted (name, dtype, shape, sha256 of bytes) of all
 * tensors, each as a line of JSON. Sharding and file names do not matter.
 */
export async function identityOf(checkpoint: Checkpoint): Promise<string> {
  return identityOfTensors(await hashTensors(checkpoint));
}

/** Hashes every tensor of a checkpoint, and lets go of its memory. */
export async function hashTensors(checkpoint: Checkpoint): Promise<HashedTensor[]> {
  const hashed: HashedTensor[] = [];
  for (const { name, dtype, shape } of checkpoint.tensors.values()) {
    hashed.push({ name, dtype, shape, sha256: await hashBytes(checkpoint.bytes(name)) });
    checkpoint.release(name);
  }
  return hashed;
}

/** The identity that a checkpoint of these tensors has. */
export function identityOfTensors(tensors: readonly HashedTensor[]): string {
  const identity = createHash('sha256');
  const sorted = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, dtype, shape, sha256 } of sorted) {
    identity.update(`${JSON.stringify([name, dtype, shape, sha256])}\n`);
  }
  return identity.digest('hex');
}

/** sha256 (hex) of bytes of any length, a piece at a time. */
export async function hashBytes(bytes: Uint8Array): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    hash.update(bytes.subarray(at, at + PIECE_BYTES));
    await setImmediate();
  }
  return hash.digest('hex');
}
