import { LlmkitError } from '../errors.js';

/** Keys and values of the tokens a batch of rows has seen. */
export class KvCache {
  /** Tokens held per row. */
  readonly lengths: readonly number[] = [];

  /** Keeps row indices[i] as row i (beams, several sequences). */
  select(_indices: readonly number[]): void {
    throw new LlmkitError('unsupported', 'KvCache: not written yet');
  }

  /** Forgets what lies beyond `length` tokens in every row. */
  truncate(_length: number): void {
    throw new LlmkitError('unsupported', 'KvCache: not written yet');
  }

  /** Frees the tensors. */
  dispose(): void {}
}
