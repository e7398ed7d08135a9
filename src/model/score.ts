import { setImmediate as nextTurn } from 'node:timers/promises';
import { LlmkitError } from '../errors.js';
import { int32 } from '../tensor/ops/index.js';
import {
  dispose,
  gather,
  reshape,
  slice,
  type Tensor1D,
  type Tensor2D,
  tidy,
} from '../tensor/tfjs.js';
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
  /** The first of equally probable ids counts as the most probable. */
  readonly greedy: readonly boolean[];
}

/** One id to score, and where its score goes. */
interface Wanted {
  readonly row: number;
  readonly place: number;
  /** Position whose hidden state predicts it. */
  readonly position: number;
  readonly target: number;
}

/**
 * Scores rows in one batch. Only the positions asked for go through the head, a bounded number at a
 * time. The last id of a row is no input: a row may be one longer than the context.
 *
 * @throws LlmkitError `usage` where `from` is below 1 or beyond the row
 */
export async function scoreRows(
  model: Decoder,
  rows: readonly ScoreRow[],
): Promise<readonly RowScore[]> {
  const wanted = rows.flatMap(wantedOf);
  const scores = rows.map(({ ids, from }) => ({
    logprobs: new Float64Array(ids.length - from),
    greedy: new Array<boolean>(ids.length - from).fill(false),
  }));
  if (wanted.length === 0) return scores;
  const hidden = await statesOf(model, rows, wanted);
  const chunk = model.scoredAtOnce;
  try {
    for (let start = 0; start < wanted.length; start += chunk) {
      const part = wanted.slice(start, start + chunk);
      if (start > 0) await nextTurn(); // signals are delivered between turns
      const { losses, greedy } = await scoresOf(model, hidden, { start, part });
      part.forEach(({ row, place }, m) => {
        const score = scores[row];
        if (score === undefined) return;
        score.logprobs[place] = -(losses[m] ?? 0);
        score.greedy[place] = greedy[m] === 1;
      });
    }
  } finally {
    hidden.dispose();
  }
  return scores;
}

function wantedOf({ ids, from }: ScoreRow, row: number): Wanted[] {
  if (!Number.isInteger(from) || from < 1 || from > ids.length) {
    throw new LlmkitError(
      'usage',
      `scoreRows: from must be in 1..${ids.length}, the length of the row, got ${from}`,
    );
  }
  return Array.from({ length: ids.length - from }, (_, place) => ({
    row,
    place,
    position: from + place - 1,
    target: ids[from + place] ?? 0,
  }));
}

/** Hidden states [M, D] of the wanted positions. */
async function statesOf(
  model: Decoder,
  rows: readonly ScoreRow[],
  wanted: readonly Wanted[],
): Promise<Tensor2D> {
  const inputs = rows.map(({ ids }) => ({ ids: Array.from(ids).slice(0, -1) }));
  const states = await model.forwardInTurns(inputs);
  const [, T, D] = states.shape;
  const indices = wanted.map(({ row, position }) => row * T + position);
  const chosen = tidy(
    () => gather(reshape(states, [-1, D]), int32(indices, [indices.length])) as Tensor2D,
  );
  states.dispose();
  return chosen;
}

/** -log p of the targets, and 1 where one is the most probable id, of the positions from `start` of hidden on. */
async function scoresOf(
  model: Decoder,
  hidden: Tensor2D,
  { start, part }: { readonly start: number; readonly part: readonly Wanted[] },
): Promise<{ readonly losses: Float32Array; readonly greedy: Int32Array }> {
  const ids = part.map(({ target }) => target);
  const tensors = tidy(() => {
    const states = slice(hidden, [start, 0], [ids.length, hidden.shape[1]]);
    return model.tokenScores(states, int32(ids, [ids.length]) as Tensor1D);
  });
  try {
    const { losses, greedy } = tensors;
    return {
      losses: (await losses.data()) as Float32Array,
      greedy: (await greedy.data()) as Int32Array,
    };
  } finally {
    dispose(tensors);
  }
}
