import { LlmkitError } from '../errors.js';

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

/** The most probable token, nothing else changed. */
export const GREEDY: Sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 };

/**
 * Chooses a token.
 *
 * @param logits [V]
 * @param seen ids of the prompt and of what was generated
 * @param uniform a number in [0, 1)
 * @throws LlmkitError `kernel` when no logit is a finite number
 */
export function chooseToken(
  logits: Float32Array,
  seen: Iterable<number>,
  sampling: Sampling,
  uniform: number,
): number {
  const scores = Float64Array.from(logits);
  penalizeRepetition(scores, seen, sampling.repetitionPenalty);
  const best = indexOfMax(scores);
  if (sampling.temperature === 0) return best;
  const weights = toWeights(scores, scores[best] ?? 0, sampling.temperature);
  if (sampling.topK > 0) keepTopK(weights, sampling.topK);
  if (sampling.topP < 1) keepTopP(weights, sampling.topP);
  return draw(weights, uniform);
}

/** Index of the largest value, the first of equals. */
export function indexOfMax(values: Float32Array | Float64Array): number {
  let best = -1;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (value > max) {
      max = value;
      best = i;
    }
  }
  if (best < 0 || max === Number.POSITIVE_INFINITY) {
    throw new LlmkitError(
      'kernel',
      'generate: expected finite logits, got none (or infinity): the weights are damaged or overflow float32',
    );
  }
  return best;
}

function penalizeRepetition(scores: Float64Array, seen: Iterable<number>, penalty: number): void {
  if (penalty === 1) return;
  for (const id of new Set(seen)) {
    const score = scores[id];
    if (score !== undefined) scores[id] = score > 0 ? score / penalty : score * penalty;
  }
}

/** exp((score - max) / temperature): probabilities up to their sum. */
function toWeights(scores: Float64Array, max: number, temperature: number): Float64Array {
  return scores.map((score) => Math.exp((score - max) / temperature));
}

function keepTopK(weights: Float64Array, k: number): void {
  if (k >= weights.length) return;
  const smallest = weights.slice().sort()[weights.length - k] as number;
  for (let i = 0; i < weights.length; i++) if ((weights[i] as number) < smallest) weights[i] = 0;
}

/** Keeps the token that crosses topP; so at least one. */
function keepTopP(weights: Float64Array, topP: number): void {
  const order = Array.from(weights.keys()).filter((i) => (weights[i] as number) > 0);
  order.sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
  const total = sum(weights);
  let before = 0;
  for (const id of order) {
    const weight = weights[id] as number;
    if (before >= topP * total) weights[id] = 0;
    before += weight;
  }
}

/** Inverse of the cumulative distribution, in the order of the ids. */
function draw(weights: Float64Array, uniform: number): number {
  const target = uniform * sum(weights);
  let cumulative = 0;
  let last = 0;
  for (let id = 0; id < weights.length; id++) {
    const weight = weights[id] as number;
    if (weight === 0) continue;
    cumulative += weight;
    last = id;
    if (cumulative > target) return id;
  }
  return last;
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
