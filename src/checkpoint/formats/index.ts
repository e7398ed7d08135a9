import { LlmkitError } from '../../errors.js';
import type { HfConfig } from '../checkpoint.js';
import { bitsandbytes } from './bitsandbytes.js';
import { compressedTensors } from './compressed-tensors.js';
import type { QuantizationFormat, QuantizedLayout } from './layout.js';

/** Every quantization method that can be read. */
const FORMATS: readonly QuantizationFormat[] = [bitsandbytes, compressedTensors];

/**
 * The layout that config.json's quantization_config describes; undefined for a checkpoint that is not quantized.
 *
 * @param where the config file, for messages
 * @throws LlmkitError `unsupported` for other methods and options
 */
export function layoutOf(config: HfConfig, where: string): QuantizedLayout | undefined {
  const quantization = config.quantization_config ?? config.quantization;
  if (quantization === undefined || quantization === null) return undefined;
  if (typeof quantization !== 'object') {
    throw new LlmkitError('checkpoint', `${where}: expected quantization_config to be an object`);
  }
  const options = quantization as Readonly<Record<string, unknown>>;
  const method = options.quant_method ?? (isOldBitsandbytes(options) ? 'bitsandbytes' : undefined);
  const format = FORMATS.find((candidate) => candidate.method === method);
  if (format) return format.layout(options, `${where}: quantization_config`);
  const names = FORMATS.map((candidate) => candidate.method).join(' or ');
  throw new LlmkitError(
    'unsupported',
    `${where}: quantization_config: expected quant_method ${names}, got ${method ?? 'none'}`,
  );
}

/** Before quant_method was written, these two flags were. */
function isOldBitsandbytes(options: Readonly<Record<string, unknown>>): boolean {
  return options.load_in_4bit !== undefined || options.load_in_8bit !== undefined;
}
