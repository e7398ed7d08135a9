import type { LayerCache } from './layer-cache.js';
import type { Sampling } from './sampling.js';
import type { Tensor, Tensor2D, Tensor3D } from './tfjs.js';

/** What a way of choosing tokens needs of a step; the rest of it are numbers, which may change from text to text. */
export interface SamplingForm {
  /** Whether tokens are drawn: the temperature is not 0. */
  readonly draws: boolean;
  /** Whether there are fewer candidates than tokens. */
  readonly cutsTopK: boolean;
  /** Whether tokens seen before are penalized. */
  readonly penalizes: boolean;
}

/** What the steps of a batch need to know besides the weights. */
export interface DecodeStepsShape {
  /** Rows of the batch. */
  readonly rows: number;
  /** Tokens of a row at most. */
  readonly capacity: number;
  readonly vocabSize: number;
  readonly numLayers: number;
  readonly sampling: SamplingForm;
  /** Windows of the layers that have one, in keys. */
  readonly windows: readonly number[];
  /** Learned positions: position + tableOffset is a row of their table. */
  readonly tableOffset?: number | undefined;
  /** RoPE: cos and sin of every position, [positions, half]. */
  readonly angles?: AngleTables | undefined;
}

/** Angles of one position after the other. */
export interface AngleTables {
  readonly half: number;
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** A text, or several in a batch, that steps go on with. */
export interface DecodeText {
  readonly rows: readonly DecodeRow[];
  /** By layer: the keys and values so far, with room reserved for those of the steps. */
  readonly caches: readonly LayerCache[];
  readonly sampling: Sampling;
  /** Of the seed that tokens are drawn with, uint32. */
  readonly drawKey: number;
}

/** Where a row stands before a step. */
export interface DecodeRow {
  /** The token that the step takes. */
  readonly id: number;
  readonly position: number;
  /** The row's random numbers, and how many of them it has used. */
  readonly stream: number;
  readonly drawn: number;
  /** Distinct ids whose scores the repetition penalty lowers; not looked at without one. */
  readonly seen: Iterable<number>;
}

/**
 * Steps of decoding that follow each other on the device: each takes its rows' tokens and positions from device
 * memory and leaves the next ones there, so that the host can queue a step before it knows the tokens of the one
 * before. The tensors are the steps' own, and all that is recorded of a text: one after the other may be placed.
 */
export interface DecodeSteps {
  /** int32 [B, 1] */
  readonly ids: Tensor2D;
  /** int32 [B, 1]: of the token, which is the last key that it sees. */
  readonly positions: Tensor2D;
  /** int32 [B, 1] by window: the first one; `undefined` is no window. */
  readonly firsts: ReadonlyMap<number | undefined, Tensor2D>;
  /** int32 [B, 1]: rows of the table of learned positions. */
  readonly tableRows?: Tensor2D | undefined;
  /** [B, 1, half] of RoPE. */
  readonly angles?: { readonly cos: Tensor3D; readonly sin: Tensor3D } | undefined;
  /** By layer: where the device finds the pages of the rows' keys and values. */
  readonly tables: readonly Tensor[];
  /** What came of `record`: whether `replay` may be called, or what stood in the way; undefined before. */
  readonly recorded: true | string | undefined;
  /** Puts the rows where they stand; steps that have not been read are forgotten. */
  place(text: DecodeText): void;
  /**
   * Runs a step and records it for `replay`.
   *
   * @param step reads the tensors above and ends with `end`; called twice, the second time without effect
   * @returns `recorded`: if something stood in the way, it has run all the same
   */
  record(step: () => void): true | string;
  /** Ends a step: chooses the rows' next tokens by their logits [B, V] and moves the rows on. */
  end(logits: Tensor2D): void;
  /** Queues the recorded step once more. At most four may be unread. */
  replay(): void;
  /** Waits for the oldest step that has not been read. @returns the tokens it chose; -1: no finite logit */
  read(): Int32Array;
  dispose(): void;
}

/** The form of a way of choosing one of so many tokens. */
export function formOf(
  { temperature, topK, repetitionPenalty }: Sampling,
  vocabSize: number,
): SamplingForm {
  const draws = temperature > 0;
  const cutsTopK = draws && topK > 0 && topK < vocabSize;
  return { draws, cutsTopK, penalizes: repetitionPenalty !== 1 };
}
