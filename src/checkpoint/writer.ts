import { LlmkitError } from '../errors.js';
import type { Dtype } from './dtype.js';

export { toDtype } from './dtype.js';

/** What is declared of a tensor before it is written. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** A vector whose declared length is an upper bound: fewer bytes may be written (at most a few kB; kept in memory until finish). */
  readonly atMost?: boolean;
}

/** A tensor with its bytes. */
export interface NamedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** What CheckpointWriter.finish() wrote. */
export interface WrittenFiles {
  readonly files: string[];
  readonly sizeBytes: number;
}

/**
 * Streams tensors into one or several safetensors files and their index. All tensors are declared first, in the
 * order that decides their shard, and then written in any order.
 */
export class CheckpointWriter {
  constructor(
    folder: string,
    _tensors: readonly TensorSpec[],
    _options: { maxShardBytes?: number; metadata?: Readonly<Record<string, string>> } = {},
  ) {
    throw new LlmkitError('unsupported', `CheckpointWriter: not written yet (${folder})`);
  }

  async write(_name: string, _bytes: Uint8Array): Promise<void> {}

  async finish(): Promise<WrittenFiles> {
    return { files: [], sizeBytes: 0 };
  }

  /** Closes the files of a writer that is given up. */
  async abort(): Promise<void> {}
}

/** Writes a small safetensors file, whole or not at all. */
export async function writeSafetensors(
  path: string,
  _tensors: ReadonlyMap<string, { dtype: Dtype; shape: readonly number[]; bytes: Uint8Array }>,
  _metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  throw new LlmkitError('unsupported', `writeSafetensors: not written yet (${path})`);
}
