import type { Example, Row } from '../data/example.js';
import type { TokenRow } from '../model/decoder.js';

/** A micro-batch as the model takes it: rows padded on the right to `length` tokens. */
export interface TokenBatch {
  readonly rows: readonly TokenRow[];
  readonly length: number;
  /** [B·T]: the token each place predicts, -1 where nothing is trained. */
  readonly targets: Int32Array;
  /** [B·T, 2]: (example, position), which dropout masks depend on; so packing and batching do not change them. */
  readonly keys: Int32Array;
  readonly trainedTokens: number;
}

/** Lays rows out for the model. A packed example never predicts the first token of the next. */
export function toBatch(rows: readonly Row[]): TokenBatch {
  const tokenRows = rows.map(toTokenRow);
  const length = Math.max(...tokenRows.map((row) => row.ids.length));
  const targets = new Int32Array(rows.length * length).fill(-1);
  const keys = new Int32Array(rows.length * length * 2);
  let trainedTokens = 0;
  for (const [b, row] of rows.entries()) {
    let place = b * length;
    for (const example of row) {
      trainedTokens += fillExample(example, place, targets, keys);
      place += example.ids.length;
    }
  }
  return { rows: tokenRows, length, targets, keys, trainedTokens };
}

function toTokenRow(row: Row): TokenRow {
  const ids = Int32Array.from(row.flatMap((example) => [...example.ids]));
  return row.length === 1 ? { ids } : { ids, segmentLengths: row.map((item) => item.ids.length) };
}

function fillExample(
  { ids, trained, index }: Example,
  place: number,
  targets: Int32Array,
  keys: Int32Array,
): number {
  let count = 0;
  for (let i = 0; i < ids.length; i++) {
    keys[2 * (place + i)] = index;
    keys[2 * (place + i) + 1] = i;
    if (trained[i + 1] !== 1) continue;
    targets[place + i] = ids[i + 1] as number;
    count++;
  }
  return count;
}
