import { LlmkitError } from '../../errors.js';
import type { Decoder } from '../../model/decoder.js';
import type { Linear } from '../../model/linear.js';
import { scoreRows } from '../../model/score.js';
import type { StoredDtype } from '../../quant/schemes/scheme.js';
import { exp, logSoftmax, mul, sub, sum as sumOf, type Tensor, tidy } from '../../tensor/tfjs.js';
import type { AdapterFile } from '../../tune/peft/index.js';
import { MergedLinear } from './merged-linear.js';
import { PROBE_TEXT } from './probe-text.js';

/** Tokens whose log-probabilities are compared. */
const PROBE_TOKENS = 256;
/** Largest difference of a log-probability that float32 arithmetic explains. */
const TOLERANCE = 1e-4;

/** How a merged checkpoint differs from base + adapter. */
export interface Verification {
  readonly probe_tokens: number;
  /** Largest difference of a log-probability. */
  readonly max_difference: number;
  readonly allowed_difference: number;
  /** Largest difference that rounding the merged weights to 16 bits makes by itself. */
  readonly rounding_difference?: number;
}

/** The rows that every model of a verification scores. */
export type Probe = readonly { readonly ids: readonly number[]; readonly from: number }[];

/**
 * Text to score: natural text where there is a tokenizer, else ids spread over the vocabulary.
 *
 * @param encode undefined where the folder has no tokenizer
 */
export function makeProbe(
  { config }: Decoder,
  encode: ((text: string) => readonly number[]) | undefined,
): Probe {
  const text = encode?.(PROBE_TEXT) ?? [];
  const ids = Array.from({ length: PROBE_TOKENS + 1 }, (_, i) =>
    text.length > 1 ? (text[i % text.length] ?? 0) : (i * 7919 + 1) % config.vocabSize,
  );
  const rows: { ids: number[]; from: number }[] = [];
  for (let start = 0; start < PROBE_TOKENS; start += config.maxLength) {
    const end = Math.min(start + config.maxLength, PROBE_TOKENS);
    rows.push({ ids: ids.slice(start, end + 1), from: 1 });
  }
  return rows;
}

/** Log-probabilities of the probe, one after the other. */
export async function probeScores(model: Decoder, probe: Probe): Promise<Float64Array> {
  const scores: number[] = [];
  for (const row of probe) {
    const [score] = await scoreRows(model, [row]);
    scores.push(...(score?.logprobs ?? []));
  }
  return Float64Array.from(scores);
}

/**
 * Compares a merged checkpoint with base + adapter.
 *
 * @param expected scores of base + adapter
 * @param merged scores of the merged files
 * @param rounding what rounding to 16 bits does by itself; undefined where every weight is float32
 * @throws LlmkitError `checkpoint` when they differ by more than rounding explains
 */
export function verifyMerge(
  expected: Float64Array,
  merged: Float64Array,
  rounding: number | undefined,
): Verification {
  const difference = largestDifference(expected, merged);
  const allowed = rounding === undefined ? TOLERANCE : Math.max(TOLERANCE, 2 * rounding);
  // Written so that NaN fails.
  if (!(difference <= allowed)) {
    throw new LlmkitError(
      'checkpoint',
      `merge: the log-probabilities of ${expected.length} probe tokens differ from base + adapter by ` +
        `${difference.toExponential(2)}, at most ${allowed.toExponential(2)} is allowed; nothing was written`,
    );
  }
  return {
    probe_tokens: expected.length,
    max_difference: difference,
    allowed_difference: allowed,
    ...(rounding === undefined ? {} : { rounding_difference: rounding }),
  };
}

/** max|a - b|; NaN where one of them is. */
export function largestDifference(a: Float64Array, b: Float64Array): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? Number.NaN))), 0);
}

/**
 * What rounding the merged matrices alone does: the scores with them rounded against those with them
 * in float32. They are made in memory, a layer at a time, and not read from the written files.
 *
 * @param model base + adapter
 * @param dtypes the dtype each linear layer's matrix is written in, for those that rounding changes
 */
export async function roundingEffect(
  model: Decoder,
  adapter: AdapterFile,
  { probe, dtypes }: { probe: Probe; dtypes: ReadonlyMap<string, StoredDtype> },
): Promise<number> {
  const scores: Float64Array[] = [];
  for (const rounded of [false, true]) {
    const originals = [...dtypes].map(([name, dtype]) => {
      const linear = model.linears.get(name) as Linear;
      const merged = new MergedLinear(linear, adapter, rounded ? dtype : 'F32');
      model.wrapLinear(name, () => merged);
      return linear;
    });
    scores.push(await probeScores(model, probe));
    for (const linear of originals) model.wrapLinear(linear.name, () => linear);
  }
  const [exact, rounded] = scores as [Float64Array, Float64Array];
  return largestDifference(exact, rounded);
}

/**
 * Mean Kullback-Leibler divergence per token of what one model predicts from what another does, on the
 * probe.
 */
export async function probeDivergence(from: Decoder, to: Decoder, probe: Probe): Promise<number> {
  let [sum, count] = [0, 0];
  for (const { ids } of probe) {
    const row = { ids: ids.slice(0, -1) };
    const kl = tidy(() => {
      const [p, q] = [from, to].map((model) => logSoftmax(model.logits(model.forward([row]))));
      return sumOf(mul(exp(p as Tensor), sub(p as Tensor, q as Tensor)));
    });
    sum += (await kl.data())[0] ?? Number.NaN;
    count += row.ids.length;
    kl.dispose();
  }
  return sum / count;
}
