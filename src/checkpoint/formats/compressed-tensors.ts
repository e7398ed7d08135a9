import { LlmkitError } from '../../errors.js';
import type { WeightData } from '../../tensor/weight.js';
import type { NamedTensor, TensorSpec } from '../writer.js';

/** dtype of the stored scales: the model's own. */
export type ScaleDtype = 'F32' | 'F16' | 'BF16';

/** What of a pack-quantized layout is known before the codes are chosen. */
export interface CompressedTensorsSpec {
  readonly rows: number;
  readonly cols: number;
  readonly bits: 4 | 8;
  /** Columns per group; the row length for one scale per channel. */
  readonly groupSize: number;
  readonly symmetric: boolean;
  readonly scaleDtype: ScaleDtype;
}

/** Tensors that encodeCompressedTensors will make, for CheckpointWriter. */
export function describeCompressedTensors(
  module: string,
  _spec: CompressedTensorsSpec,
): TensorSpec[] {
  throw new LlmkitError('unsupported', `describeCompressedTensors: not written yet (${module})`);
}

/** The tensors compressed-tensors stores (pack-quantized) for an int4 or int8 matrix. */
export function encodeCompressedTensors(
  module: string,
  _data: WeightData,
  _scaleDtype: ScaleDtype,
): NamedTensor[] {
  throw new LlmkitError('unsupported', `encodeCompressedTensors: not written yet (${module})`);
}

/** config.json's quantization_config for pack-quantized weights; groupSize undefined = one scale per channel. */
export function compressedTensorsConfig(_options: {
  bits: 4 | 8;
  symmetric: boolean;
  groupSize?: number;
  ignore: readonly string[];
}): Record<string, unknown> {
  throw new LlmkitError('unsupported', 'compressedTensorsConfig: not written yet');
}
