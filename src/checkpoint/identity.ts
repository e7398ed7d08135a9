import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { threadsAtHand } from '../tensor/backends/index.js';
import type { Checkpoint, StoredTensor } from './checkpoint.js';
import type { Dtype } from './dtype.js';
import { HashThreads } from './hash-threads.js';

/** Hashed at one time: a few milliseconds, so that signals, progress and other work get through. */
const PIECE_BYTES = 2 ** 22;
/** Tensors of less are hashed sooner than a thread is asked. */
const THREAD_BYTES = 2 ** 20;

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

/** Hashes every tensor of a checkpoint. */
export function hashTensors(checkpoint: Checkpoint): Promise<HashedTensor[]> {
  return withHasher(checkpoint, (hash) => Promise.all([...checkpoint.tensors.values()].map(hash)));
}

/** Hashes a tensor of a checkpoint beside JavaScript, several at a time; none stays in memory. */
export type TensorHasher = (tensor: StoredTensor) => Promise<HashedTensor>;

/** Does work that hashes tensors; the threads for it end with the work. */
export async function withHasher<T>(
  checkpoint: Checkpoint,
  work: (hash: TensorHasher) => Promise<T>,
): Promise<T> {
  const threads = new HashThreads(threadsAtHand());
  try {
    return await work(hasherOf(checkpoint, threads));
  } finally {
    await threads.close();
  }
}

function hasherOf(checkpoint: Checkpoint, threads: HashThreads): TensorHasher {
  return async ({ name, dtype, shape, sizeBytes }) => {
    const small = sizeBytes < THREAD_BYTES;
    const hashing = small
      ? hashBytes(checkpoint.bytes(name))
      : threads.sha256(checkpoint.range(name));
    const sha256 = await hashing;
    if (small) checkpoint.release(name);
    return { name, dtype, shape, sha256 };
  };
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
