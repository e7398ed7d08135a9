import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { hashRanges, threadsAtHand } from '../tensor/backends/index.js';
import type { Checkpoint, StoredTensor } from './checkpoint.js';
import type { Dtype } from './dtype.js';
import { HashThreads } from './hash-threads.js';

/** Hashed at one time: a few milliseconds, so that signals, progress and other work get through. */
const PIECE_BYTES = 2 ** 22;
/** Tensors of less are hashed sooner than a thread is asked. */
const THREAD_BYTES = 2 ** 20;
/** Tensors that `hashRanges` hashes at a time on a thread. */
const LANES = 32;

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
  return withHashing(checkpoint, (hashing) => hashing, threadsAtHand());
}

/**
 * Does work beside which every tensor of a checkpoint is hashed, several at a time; none stays in memory. When the work
 * fails the hashing ends too, so that the checkpoint may be closed.
 *
 * @param most threads; left out: half of those at hand, as the work wants some too
 */
export async function withHashing<T>(
  checkpoint: Checkpoint,
  work: (hashing: Promise<HashedTensor[]>) => Promise<T>,
  most = Math.ceil(threadsAtHand() / 2),
): Promise<T> {
  const tensors = [...checkpoint.tensors.values()];
  const native = hashNatively(checkpoint, tensors, most);
  const threads = new HashThreads(threadsAtHand());
  const hash = async ({ name, sizeBytes }: StoredTensor): Promise<string> => {
    if (sizeBytes >= THREAD_BYTES) return threads.sha256(checkpoint.range(name));
    const sha256 = await hashBytes(checkpoint.bytes(name));
    checkpoint.release(name);
    return sha256;
  };
  const hashing = Promise.all(
    tensors.map(async (tensor): Promise<HashedTensor> => {
      const { name, dtype, shape } = tensor;
      return { name, dtype, shape, sha256: await (native.hashes.get(name) ?? hash(tensor)) };
    }),
  );
  hashing.catch(() => undefined); // the work may fail before it waits for them
  try {
    return await work(hashing);
  } finally {
    await Promise.all([native.stop(), threads.close()]);
  }
}

/** Hashes by tensor; none where the addon makes none. */
interface NativeHashes {
  readonly hashes: ReadonlyMap<string, Promise<string>>;
  stop(): Promise<void>;
}

function hashNatively(
  checkpoint: Checkpoint,
  tensors: readonly StoredTensor[],
  most: number,
): NativeHashes {
  const threads = Math.min(most, Math.ceil(tensors.length / LANES)) || 1;
  const ranges = tensors.flatMap(({ name }) => {
    const { descriptor, offset, sizeBytes } = checkpoint.range(name);
    return [descriptor, offset, sizeBytes];
  });
  const started = hashRanges(ranges, threads);
  if (started === null) return { hashes: new Map(), stop: async () => undefined };
  const hashOf = async (i: number) => (await started.hashes)[i] as string;
  process.once('exit', started.stop); // Node.js ends only when the addon's work has
  return {
    hashes: new Map(tensors.map(({ name }, i) => [name, hashOf(i)])),
    async stop() {
      started.stop();
      await started.hashes.catch(() => undefined);
      process.off('exit', started.stop);
    },
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
