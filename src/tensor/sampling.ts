import { LlmkitError } from '../errors.js';

/** Weights are added up in blocks of this many, each with as many sums as it has lanes. */
const BLOCK = 256;
const LANES = 8;

/** How the next token is chosen; the meaning and the order are Hugging Face's. */
export interface Sampling {
  /** 0: the most probable token. */
  readonly temperature: number;
  /** Only the k most probable tokens (and those equal to the k-th); 0: all. */
  readonly topK: number;
  /** Only the most probable tokens that together reach this probability; 1: all. */
  readonly topP: number;
  /** Divides positive and multiplies negative logits of tokens seen before; 1: none. */
  readonly repetitionPenalty: number;
}

/**
 * Chooses a token: the most probable one at temperature 0, else one drawn from {@link distribution}.
 * The reference of the kernel `LlmkitSample`, which chooses the same ones: every sum has its order,
 * but for that of the weights before the top-p cut (equal to 1e-13).
 *
 * @param logits [V]; NaN is never chosen
 * @param seen ids of the prompt and of what was generated, each once
 * @param uniform a number in [0, 1)
 * @throws LlmkitError `kernel` when no logit is a finite number
 */
export function chooseToken(
  logits: Float32Array,
  seen: Iterable<number>,
  sampling: Sampling,
  uniform: number,
): number {
  const scores = penalized(logits, seen, sampling.repetitionPenalty);
  const best = indexOfMax(scores);
  return sampling.temperature > 0 ? draw(candidatesOf(scores, best, sampling), uniform) : best;
}

/** The probabilities to draw from, [V]: penalty, temperature, top-k, then top-p. */
export function distribution(
  logits: Float32Array,
  seen: Iterable<number>,
  sampling: Sampling,
): Float64Array {
  const scores = penalized(logits, seen, sampling.repetitionPenalty);
  const { ids, weights } = candidatesOf(scores, indexOfMax(scores), sampling);
  const total = sum(blockSums(weights));
  const probabilities = new Float64Array(logits.length);
  ids.forEach((id, i) => {
    probabilities[id] = (weights[i] as number) / total;
  });
  return probabilities;
}

/** What an error says when no token can be chosen. */
export function noFiniteLogits(): LlmkitError {
  return new LlmkitError(
    'kernel',
    'generate: expected finite logits, got none (or infinity): the weights are damaged or overflow float32',
  );
}

/** Tokens that may be chosen, ids ascending, and weights in proportion to their probabilities. */
interface Candidates {
  readonly ids: Int32Array;
  readonly weights: Float64Array;
}

function candidatesOf(
  scores: Float64Array,
  best: number,
  { temperature, topK, topP }: Sampling,
): Candidates {
  const max = scores[best] as number;
  const smallest = topK > 0 ? scores.slice().sort().at(-topK) : undefined;
  const all = Int32Array.from(scores.keys());
  const ids = smallest === undefined ? all : all.filter((id) => (scores[id] as number) >= smallest);
  const weights = Float64Array.from(ids, (id) =>
    Math.exp(((scores[id] as number) - max) / temperature),
  );
  if (topP < 1) keepTopP(weights, topP * sum(blockSums(weights)));
  return { ids, weights };
}

/** Index of the largest value, the first of equals. */
function indexOfMax(values: Float64Array): number {
  let best = -1;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (value > max) {
      max = value;
      best = i;
    }
  }
  if (best < 0 || max === Number.POSITIVE_INFINITY) throw noFiniteLogits();
  return best;
}

function penalized(logits: Float32Array, seen: Iterable<number>, penalty: number): Float64Array {
  const scores = Float64Array.from(logits, (logit) =>
    Number.isNaN(logit) ? Number.NEGATIVE_INFINITY : logit,
  );
  if (penalty === 1) return scores;
  for (const id of seen) {
    const score = scores[id];
    if (score !== undefined) scores[id] = score > 0 ? score / penalty : score * penalty;
  }
  return scores;
}

/** Keeps the token that crosses the target; so at least one. */
function keepTopP(weights: Float64Array, target: number): void {
  const order = Array.from(weights.keys()).filter((i) => (weights[i] as number) > 0);
  order.sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
  let before = 0;
  for (const i of order) {
    const weight = weights[i] as number;
    if (before > 0 && before >= target) weights[i] = 0;
    before += weight;
  }
}

/** Inverse of the cumulative distribution, in the order of the ids. */
function draw({ ids, weights }: Candidates, uniform: number): number {
  const sums = blockSums(weights);
  const target = uniform * sum(sums);
  let before = 0;
  let block = 0;
  for (; block + 1 < sums.length && before + (sums[block] as number) <= target; block++) {
    before += sums[block] as number;
  }
  let last = 0;
  const end = Math.min((block + 1) * BLOCK, weights.length);
  for (let i = 0; i < end; i++) {
    const weight = weights[i] as number;
    if (weight === 0) continue;
    last = i;
    if (i < block * BLOCK) continue;
    before += weight;
    if (before > target) break;
  }
  return ids[last] as number;
}

function blockSums(weights: Float64Array): Float64Array {
  const sums = new Float64Array(Math.ceil(weights.length / BLOCK));
  for (let block = 0; block < sums.length; block++) {
    const lanes = new Float64Array(LANES);
    const end = Math.min((block + 1) * BLOCK, weights.length);
    for (let i = block * BLOCK; i < end; i++) {
      lanes[i % LANES] = (lanes[i % LANES] as number) + (weights[i] as number);
    }
    sums[block] = sum(lanes);
  }
  return sums;
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
