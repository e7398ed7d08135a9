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

/**
 * Chooses a token: the most probable one at temperature 0, else one drawn from {@link distribution}.
 *
 * @param logits [V]
 * @param seen ids of the prompt and of what was generated
 * @param uniform a number in [0, 1)
 * @throws LlmkitError `kernel` when no logit is a finite number
 */
export function chooseToken(
  logits: Float32Array,
  seen: ReadonlySet<number>,
  sampling: Sampling,
  uniform: number,
): number {
  if (sampling.temperature > 0) return draw(distribution(logits, seen, sampling), uniform);
  return indexOfMax(penalized(logits, seen, sampling.repetitionPenalty));
}

/** The probabilities to draw from: penalty, temperature, top-k, then top-p. */
export function distribution(
  logits: Float32Array,
  seen: ReadonlySet<number>,
  { temperature, topK, topP, repetitionPenalty }: Sampling,
): Float64Array {
  const scores = penalized(logits, seen, repetitionPenalty);
  const max = scores[indexOfMax(scores)] as number;
  const weights = scores.map((score) => Math.exp((score - max) / temperature));
  if (topK > 0) keepTopK(weights, topK);
  if (topP < 1) keepTopP(weights, topP);
  const total = sum(weights);
  return weights.map((weight) => weight / total);
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

function penalized(logits: Float32Array, seen: ReadonlySet<number>, penalty: number): Float64Array {
  const scores = Float64Array.from(logits);
  if (penalty === 1) return scores;
  for (const id of seen) {
    const score = scores[id];
    if (score !== undefined) scores[id] = score > 0 ? score / penalty : score * penalty;
  }
  return scores;
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
    if (before > 0 && before >= topP * total) weights[id] = 0;
    before += weight;
  }
}

/** Inverse of the cumulative distribution, in the order of the ids. */
function draw(probabilities: Float64Array, uniform: number): number {
  let cumulative = 0;
  let last = 0;
  for (let id = 0; id < probabilities.length; id++) {
    const probability = probabilities[id] as number;
    if (probability === 0) continue;
    cumulative += probability;
    last = id;
    if (cumulative > uniform) return id;
  }
  return last;
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
