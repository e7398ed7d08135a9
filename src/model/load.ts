import type { Checkpoint, HfConfig } from '../checkpoint/checkpoint.js';
import { LlmkitError } from '../errors.js';
import type { WeightData } from '../tensor/weight.js';
import type { Decoder } from './decoder.js';

/** How to load a model. */
export interface LoadOptions {
  /** Dense weights become variables with gradients. */
  readonly trainable?: boolean;
  /** Quantize on load: called for every linear layer but the head with its float32 values [out, in]. */
  readonly quantize?: (
    module: string,
    values: Float32Array,
    shape: readonly [number, number],
  ) => WeightData;
}

/** Builds the decoder of a checkpoint. */
export async function loadModel(
  _checkpoint: Checkpoint,
  _options: LoadOptions = {},
): Promise<Decoder> {
  throw new LlmkitError('unsupported', 'loadModel: not written yet');
}

/** A trainable decoder with random weights; the same seed gives the same bits. */
export function initModel(_config: HfConfig, _seed: number): Decoder {
  throw new LlmkitError('unsupported', 'initModel: not written yet');
}
