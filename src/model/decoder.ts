import type { HfConfig } from '../checkpoint/checkpoint.js';
import { LlmkitError } from '../errors.js';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D } from '../tensor/tfjs.js';
import type { DecoderConfig } from './config.js';
import type { KvCache } from './kv-cache.js';
import type { ForwardContext, Linear } from './linear.js';

/** One row of a batch. */
export interface TokenRow {
  readonly ids: ArrayLike<number>;
  /** Packed segments that do not see each other; their lengths sum to ids.length. */
  readonly segmentLengths?: readonly number[];
}

/** Options of a forward pass. */
export interface ForwardOptions {
  /** Rows continue at cache.lengths, and are added to the cache. */
  readonly cache?: KvCache;
  /** Recompute each block in the backward pass instead of keeping its activations. */
  readonly checkpointing?: boolean;
  readonly context?: ForwardContext;
}

/** A decoder-only language model. */
export class Decoder {
  readonly config: DecoderConfig;
  readonly checkpointConfig: HfConfig;
  /** Linear layers by module path, `lm_head` included. */
  readonly linears: ReadonlyMap<string, Linear> = new Map();
  /** Dense parameters by Hugging Face tensor name; each is trainable when loaded so. */
  readonly parameters: ReadonlyMap<string, Tensor> = new Map();
  /** Logical parameters: a tied head counts once, a quantized matrix as its original. */
  readonly numParameters: number = 0;

  constructor(config: DecoderConfig, checkpointConfig: HfConfig) {
    this.config = config;
    this.checkpointConfig = checkpointConfig;
  }

  /** Replaces a linear layer by what wrap returns. */
  wrapLinear(_name: string, _wrap: (inner: Linear) => Linear): void {
    throw new LlmkitError('unsupported', 'Decoder: not written yet');
  }

  /** Final-normed hidden states [B, T, D], rows right-padded to the longest. */
  forward(_rows: readonly TokenRow[], _options: ForwardOptions = {}): Tensor3D {
    throw new LlmkitError('unsupported', 'Decoder: not written yet');
  }

  /** [..., D] hidden states to [..., V] logits. */
  logits(_hidden: Tensor): Tensor {
    throw new LlmkitError('unsupported', 'Decoder: not written yet');
  }

  /** -log p(target) per row of [M, D] hidden states; 0 where the target is -1. */
  tokenLosses(_hidden: Tensor2D, _targets: Tensor1D): Tensor1D {
    throw new LlmkitError('unsupported', 'Decoder: not written yet');
  }

  /** An empty cache for `batch` rows. */
  newCache(_batch: number): KvCache {
    throw new LlmkitError('unsupported', 'Decoder: not written yet');
  }

  /** Frees every tensor of the model. */
  dispose(): void {}
}
