import type { ActivationName } from '../tensor/ops/index.js';
import type { RopeConfig } from './rope.js';

/** How normalisation layers work. */
export interface NormConfig {
  readonly kind: 'rms' | 'layer';
  readonly eps: number;
  /** Which parameters they have. */
  readonly weight: boolean;
  readonly bias: boolean;
}

/** Hugging Face names of a model's modules. */
export interface ModuleNames {
  /** Prefix of the base model's tensors, which some writers leave out. */
  readonly basePrefix: string;
  readonly tokens: string;
  readonly positions?: string;
  readonly projectIn?: string;
  readonly projectOut?: string;
  readonly layers: string;
  readonly finalNorm: string;
  /** Within a layer: one fused module, or queries, keys and values. */
  readonly qkv: readonly [string] | readonly [string, string, string];
  readonly queryNorm?: string;
  readonly keyNorm?: string;
  readonly attentionOut: string;
  readonly attentionNorm: string;
  /** Within a layer: gate and up, or up alone. */
  readonly mlpIn: readonly [string] | readonly [string, string];
  readonly mlpOut: string;
  readonly mlpNorm: string;
}

/** Structural switches of the one decoder. No code may ask which family it is running. */
export interface DecoderConfig {
  readonly names: ModuleNames;
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
  readonly qkvBias: boolean;
  readonly attentionOutBias: boolean;
  /** Factor on the attention scores, per layer. */
  readonly attentionScales: readonly number[];
  /** Number of keys a query sees, itself included, per layer; undefined = all before it. */
  readonly windows: readonly (number | undefined)[];
  readonly activation: ActivationName;
  readonly mlpBias: boolean;
  /** The blocks' linear layers are stored [in, out] (GPT-2's Conv1D). */
  readonly transposedOnDisk: boolean;
  readonly rope?: RopeConfig;
  /** Learned positions: row `position + offset` of a table of maxLength + offset rows. */
  readonly learnedPositions?: { readonly offset: number };
  /** Standard deviation of fresh weights, and of those that write to the residual stream. */
  readonly initializerRange: number;
  readonly residualInitializerRange: number;
}
