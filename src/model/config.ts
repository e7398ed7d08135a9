import type { ActivationName } from '../tensor/ops/index.js';
import type { RopeConfig } from './rope.js';

/** How normalisation layers work. `weight` and `bias` say which parameters they have. */
export interface NormConfig {
  readonly kind: 'rms' | 'layer';
  readonly eps: number;
  readonly weight: boolean;
  readonly bias: boolean;
}

/** Structural switches of the one decoder. No code may ask which family it is running. */
export interface DecoderConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Width of token embeddings and of the head's input; projected where it is not `hiddenSize`. */
  readonly embeddingSize: number;
  readonly intermediateSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headSize: number;
  /** The context limit in tokens. */
  readonly maxLength: number;
  readonly tiedHead: boolean;
  readonly norm: NormConfig;
  /** Normalise the input of each sub-layer (true) or its sum with the residual (false). */
  readonly preNorm: boolean;
  readonly finalNorm: boolean;
  /** RMSNorm over each head's queries and keys. */
  readonly qkNorm: boolean;
  /** One matrix for queries, keys and values. */
  readonly fusedQkv: boolean;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  /** Factor on the attention scores, per layer. */
  readonly attentionScales: readonly number[];
  /** Number of keys a query sees, itself included, per layer; undefined = all before it. */
  readonly windows: readonly (number | undefined)[];
  readonly activation: ActivationName;
  /** down(act(gate(x)) * up(x)) instead of down(act(up(x))). */
  readonly gatedMlp: boolean;
  readonly mlpBias: boolean;
  /** Linear layers of the blocks are stored [in, out]. */
  readonly transposedOnDisk: boolean;
  readonly rope?: RopeConfig;
  /** Learned positions: row `position + offset` of a table of maxLength + offset rows. */
  readonly learnedPositions?: { readonly offset: number };
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number;
}
