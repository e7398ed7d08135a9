import { LlmkitError } from '../errors.js';
import type { Decoder } from './decoder.js';

/** Ids of a text and the first place to score: ids[from..] are scored, given all ids before each. */
export interface ScoreRow {
  readonly ids: ArrayLike<number>;
  /** At least 1: the first id has nothing before it. */
  readonly from: number;
}

/** Natural-log probabilities of ids[from..] and whether each is the most probable id. */
export interface RowScore {
  readonly logprobs: Float64Array;
  readonly greedy: readonly boolean[];
}

/** Scores rows in one batch; only the needed positions go through the head. */
export async function scoreRows(
  _model: Decoder,
  _rows: readonly ScoreRow[],
): Promise<readonly RowScore[]> {
  throw new LlmkitError('unsupported', 'scoreRows: not written yet');
}
