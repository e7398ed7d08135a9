import type { WeightData } from '../weight.js';
import type { MatrixFile, RoundingMethod, SquareSums } from './addon.js';
import { loadCuda } from './cuda.js';
import type { Device } from './device-choice.js';
import { loadAddon } from './native.js';

/** What a matrix is rounded to, and how. */
export interface RoundingSpec {
  readonly format: 'int4' | 'int8' | 'nf4' | 'fp4';
  readonly groupSize: number;
  /** int4, int8: what the scales are rounded to before the codes are chosen. */
  readonly scaleType: 'f32' | 'bf16' | 'f16';
  /** int4, int8: one zero point per group. */
  readonly zeroPoints: boolean;
  /** How the scales and zero points are chosen: a method of src/quant/methods. */
  readonly method: RoundingMethod;
}

/** What quantizing may use. */
export interface QuantizerResources {
  readonly device: Device;
  /** Makes memory for the parts, of any content. */
  readonly allocate?: ((sizeBytes: number) => ArrayBuffer) | undefined;
  /** What the values are mapped from. */
  readonly file?: MatrixFile | undefined;
}

/**
 * Rounds a dense matrix to codes on the addon's threads or on a GPU: the bytes of src/quant/schemes and methods
 * either way.
 *
 * @param values f32, bf16 or f16
 * @returns the codes and the relative error; undefined when a value is not finite
 */
export async function quantizeNative(
  values: WeightData,
  spec: RoundingSpec,
  { device, allocate = (sizeBytes) => new ArrayBuffer(sizeBytes), file }: QuantizerResources,
): Promise<{ data: WeightData; relativeError: number } | undefined> {
  const { format, groupSize, scaleType, zeroPoints, method } = spec;
  const { rows, cols } = values;
  const groups = Math.ceil((rows * cols) / groupSize);
  const data: WeightData = {
    format,
    rows,
    cols,
    codes: new Uint8Array(allocate(format === 'int8' ? rows * cols : Math.ceil((rows * cols) / 2))),
    groupSize,
    scales: new Float32Array(allocate(4 * groups)),
    ...(zeroPoints && { zeros: new Uint8Array(allocate(groups)) }),
  };
  const sums =
    device === 'cuda'
      ? await loadCuda().addon.quantize(values, data, scaleType, method)
      : await quantizeOnThreads(values, data, { ...spec, file });
  return sums ? { data, relativeError: rootRatio(sums) } : undefined;
}

function quantizeOnThreads(
  values: WeightData,
  data: WeightData,
  { scaleType, method, file }: RoundingSpec & Pick<QuantizerResources, 'file'>,
): Promise<SquareSums | null> {
  const addon = loadAddon();
  return addon.quantize(
    addon.createWeight(values, 'f32'),
    addon.createWeight(data, 'f32'),
    scaleType,
    method,
    file,
  );
}

/** Frobenius norm of what quantization changed, as a part of the norm of the whole. */
export async function relativeErrorNative(
  values: WeightData,
  quantized: WeightData,
): Promise<number> {
  const addon = loadAddon();
  const [from, to] = [addon.createWeight(values, 'f32'), addon.createWeight(quantized, 'f32')];
  return rootRatio(await addon.quantizationError(from, to));
}

function rootRatio([errors, values]: SquareSums): number {
  return values === 0 ? 0 : Math.sqrt(errors / values);
}
