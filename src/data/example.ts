/** Token ids of one document and which of them are learned. */
export interface Example {
  readonly ids: Int32Array;
  /** 1 where the token is trained: predicting it from those before it adds to the loss. */
  readonly trained: Uint8Array;
  /** Place in the data set, counted over all files; it keys the dropout masks. */
  readonly index: number;
  /** `file:line`, for messages. */
  readonly where: string;
}

/** One row of a batch: a single example, or several packed behind each other. */
export type Row = readonly Example[];

/** Trained tokens of an example. The first token is never predicted, so it never counts. */
export function trainedTokens(example: Example): number {
  let count = 0;
  for (let i = 1; i < example.trained.length; i++) count += example.trained[i] ?? 0;
  return count;
}

/** Tokens of a row. */
export function rowLength(row: Row): number {
  return row.reduce((sum, example) => sum + example.ids.length, 0);
}
