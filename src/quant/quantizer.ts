import type { FileRange } from '../checkpoint/hash-threads.js';
import { LlmkitError } from '../errors.js';
import { addonLoads, backendInUse, deviceInUse } from '../tensor/backends/index.js';
import {
  quantizeNative,
  type RoundingSpec,
  relativeErrorNative,
} from '../tensor/backends/native-quantizer.js';
import type { ReusedMemory } from '../tensor/reused-memory.js';
import { dequantize, type WeightData } from '../tensor/weight.js';
import { type MatrixRows, quantizeMatrix, relativeError } from './matrix.js';
import { type MethodName, methods } from './methods/index.js';
import { nestScales } from './nested-scales.js';
import type { QuantScheme, SchemeOptions } from './schemes/scheme.js';

/** A float32, bf16 or f16 matrix. */
export interface NamedMatrix {
  /** For messages. */
  readonly name: string;
  readonly values: WeightData;
  /** What the values are mapped from. */
  readonly file?: FileRange | undefined;
}

/** How a matrix is to be rounded. */
export interface RoundingOptions extends SchemeOptions {
  readonly scheme: QuantScheme;
  readonly method: MethodName;
  /** Where the parts may lie; the caller gives them back. */
  readonly memory?: ReusedMemory | undefined;
}

/** A rounded matrix. */
export interface Rounded {
  readonly data: WeightData;
  /** Frobenius norm of what rounding changed, as a part of the norm of the whole. */
  relativeError(): Promise<number>;
}

/**
 * Rounds a matrix to codes; whichever quantizer does it, the bytes are the same.
 *
 * @throws LlmkitError `checkpoint` when a value is not finite
 */
export type Quantizer = (matrix: NamedMatrix, options: RoundingOptions) => Promise<Rounded>;

/** In plain TypeScript, some rows at a time. */
export const portableQuantizer: Quantizer = async (matrix, options) => {
  const rows = rowsOf(matrix);
  const data = quantizeMatrix(rows, { ...options, method: methods[options.method] });
  return { data, relativeError: async () => relativeError(rows, data) };
};

function rowsOf({ name, values }: NamedMatrix): MatrixRows {
  const { rows, cols } = values;
  return { name, rows, cols, read: (start, end) => dequantize(values, start, end) };
}

const SCALE_TYPES = { F32: 'f32', F16: 'f16', BF16: 'bf16' } as const;

/** By the addon, beside JavaScript: with all threads, or on the GPU where that computes. */
export const nativeQuantizer: Quantizer = async ({ name, values, file }, options) => {
  const { scheme, method, groupSize, dtype, doubleQuant, asymmetric, memory } = options;
  const spec: RoundingSpec = {
    format: scheme.format as RoundingSpec['format'],
    groupSize,
    scaleType: SCALE_TYPES[dtype],
    zeroPoints: asymmetric === true,
    method,
  };
  const allocate = memory && ((sizeBytes: number) => memory.take(sizeBytes));
  const rounded = await quantizeNative(values, spec, { device: deviceInUse(), allocate, file });
  if (rounded === undefined) {
    throw new LlmkitError('checkpoint', `${name}: holds a value that is not finite`);
  }
  const { data, relativeError } = rounded;
  if (!doubleQuant) return { data, relativeError: async () => relativeError };
  const nested = { ...data, scales: nestScales(data.scales as Float32Array) };
  return { data: nested, relativeError: () => relativeErrorNative(values, nested) };
};

/** The native quantizer where it loads; `reference` is there to do without. Both give the same bytes. */
export function quantizerInUse(): Quantizer {
  return backendInUse() !== 'reference' && addonLoads() ? nativeQuantizer : portableQuantizer;
}
