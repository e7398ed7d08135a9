/** A token and its natural-log probability. */
export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
}

/** The probability of one token that stands in a text, and the best ones at its place. */
export interface Placed extends TokenLogprob {
  readonly best: readonly TokenLogprob[];
}

/**
 * Natural-log probability of `id` under the model's own distribution (no temperature, no filter).
 *
 * @param logits [V]
 * @param count how many of the most probable tokens to return, best first, smaller ids first of equals
 */
export function placeToken(logits: Float32Array, id: number, count: number): Placed {
  const normalizer = logSumExp(logits);
  const at = (token: number) => (logits[token] as number) - normalizer;
  const best = bestIds(logits, count).map((token) => ({ id: token, logprob: at(token) }));
  return { id, logprob: at(id), best };
}

/** ln Σ exp(x), in float64. */
function logSumExp(values: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of values) if (value > max) max = value;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - max);
  return max + Math.log(sum);
}

/** Insertion into a short sorted list: one pass over the vocabulary. */
function bestIds(logits: Float32Array, count: number): number[] {
  const best: number[] = [];
  if (count === 0) return best;
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id] as number;
    if (best.length === count && value <= (logits[best[count - 1] as number] as number)) continue;
    let place = best.length;
    while (place > 0 && (logits[best[place - 1] as number] as number) < value) place--;
    best.splice(place, 0, id);
    if (best.length > count) best.pop();
  }
  return best;
}
