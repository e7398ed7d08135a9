import { LlmkitError } from '../errors.js';
import type { Checkpoint } from './checkpoint.js';

/** sha256 (hex) over the sorted (name, dtype, shape, sha256 of bytes) of all tensors: equal however they are sharded. */
export async function identityOf(checkpoint: Checkpoint): Promise<string> {
  throw new LlmkitError('unsupported', `identityOf: not written yet (${checkpoint.folder})`);
}
