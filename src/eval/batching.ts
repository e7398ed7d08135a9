import type { RowScore, ScoreRow } from '../model/score.js';

/** Scores rows in one batch. */
export type Scorer = (rows: readonly ScoreRow[]) => Promise<readonly RowScore[]>;

/** Tokens of a batch of `auto`, padding included. */
const AUTO_BATCH_TOKENS = 1024;

/** How rows are batched. */
export interface BatchOptions {
  readonly score: Scorer;
  /** Rows in a batch; `auto` takes as many as fit a fixed number of tokens. */
  readonly batchSize: number | 'auto';
  /** Told the number of rows scored since the last call. */
  readonly onRows?: (rows: number) => void;
  readonly signal?: AbortSignal;
}

/** Scores rows in batches of similar length, longest first. @returns scores in the order of the rows */
export async function scoreInBatches(
  rows: readonly ScoreRow[],
  { score, batchSize, onRows, signal }: BatchOptions,
): Promise<readonly RowScore[]> {
  const scores: RowScore[] = new Array(rows.length);
  for (const batch of batches(rows, batchSize)) {
    signal?.throwIfAborted();
    const scored = await score(batch.map((index) => rows[index] as ScoreRow));
    batch.forEach((index, i) => {
      scores[index] = scored[i] as RowScore;
    });
    onRows?.(batch.length);
  }
  return scores;
}

/** Indices of rows, by falling length, cut into batches. */
function* batches(rows: readonly ScoreRow[], batchSize: number | 'auto'): Generator<number[]> {
  const lengthOf = (index: number) => rows[index]?.ids.length ?? 0;
  const order = rows.map((_, index) => index).sort((a, b) => lengthOf(b) - lengthOf(a));
  for (let start = 0; start < order.length; ) {
    const longest = lengthOf(order[start] as number);
    const size =
      batchSize === 'auto' ? Math.max(1, Math.floor(AUTO_BATCH_TOKENS / longest)) : batchSize;
    yield order.slice(start, start + size);
    start += size;
  }
}
