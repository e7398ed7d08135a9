import { LlmkitError } from '../../errors.js';
import type { WeightData } from '../../tensor/weight.js';
import type { NamedTensor, TensorSpec } from '../writer.js';

/** dtype of the weights before quantization, as PyTorch names it. */
export type TorchDtype = 'float32' | 'float16' | 'bfloat16';

/** What of a bitsandbytes layout is known before the codes are chosen. */
export interface BitsandbytesSpec {
  readonly rows: number;
  readonly cols: number;
  readonly quantType: 'nf4' | 'fp4';
  readonly groupSize: number;
  readonly doubleQuant: boolean;
  readonly dtype: TorchDtype;
}

/** Tensors that encodeBitsandbytes will make, for CheckpointWriter (the quant_state's length is an upper bound). */
export function describeBitsandbytes(module: string, _spec: BitsandbytesSpec): TensorSpec[] {
  throw new LlmkitError('unsupported', `describeBitsandbytes: not written yet (${module})`);
}

/** The tensors bitsandbytes stores for an nf4 or fp4 matrix. */
export function encodeBitsandbytes(
  module: string,
  _data: WeightData,
  _dtype: TorchDtype,
): NamedTensor[] {
  throw new LlmkitError('unsupported', `encodeBitsandbytes: not written yet (${module})`);
}

/** config.json's quantization_config for 4-bit bitsandbytes weights. */
export function bitsandbytesConfig(_options: {
  quantType: 'nf4' | 'fp4';
  doubleQuant: boolean;
  dtype: TorchDtype;
  skipModules: readonly string[] | null;
}): Record<string, unknown> {
  throw new LlmkitError('unsupported', 'bitsandbytesConfig: not written yet');
}
