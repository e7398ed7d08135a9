import { LlmkitError } from '../../errors.js';
import type { WeightData } from '../../tensor/weight.js';
import { toDtype } from '../dtype.js';
import { findTensor, type TensorSource } from '../safetensors.js';
import type { NamedTensor, TensorSpec } from '../writer.js';
import { checkOptions } from './compressed-tensors-options.js';
import {
  expectLength,
  type QuantizationFormat,
  type QuantizedLayout,
  scalesOf,
  toOffsetBinary,
} from './layout.js';
import { packColumns, packRows, unpackColumns, unpackRows } from './packing.js';

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

/** compressed-tensors: pack-quantized integers of 4 and 8 bits, and int-quantized 8-bit weights. */
export const compressedTensors: QuantizationFormat = {
  method: 'compressed-tensors',
  layout(options, where): QuantizedLayout {
    checkOptions(options, where);
    return { method: 'compressed-tensors', modules, matrix };
  },
};

const PACKED = '.weight_packed';
const SCALE = '.weight_scale';

function modules(tensorNames: Iterable<string>): string[] {
  return [...tensorNames]
    .filter((name) => name.endsWith(SCALE))
    .map((name) => name.slice(0, -SCALE.length));
}

function matrix(module: string, source: TensorSource): WeightData {
  return source.tensors.has(`${module}${PACKED}`)
    ? packQuantized(module, source)
    : intQuantized(module, source);
}

function packQuantized(module: string, source: TensorSource): WeightData {
  const packed = findTensor(source.tensors, `${module}${PACKED}`, 'checkpoint');
  const [rows = 0, cols = 0] = source.floats(`${module}.weight_shape`);
  const bits = bitsOf(packed.name, packed.shape, [rows, cols]);
  const codes = unpackRows(source.bytes(packed.name), { rows, cols, bits });
  const shape = { rows, cols, bits };
  return {
    format: bits === 4 ? 'int4' : 'int8',
    rows,
    cols,
    codes,
    ...groups(module, source, shape),
  };
}

/** 4 or 8: the one whose packed width fits. */
function bitsOf(name: string, packed: readonly number[], [rows, cols]: [number, number]): 4 | 8 {
  for (const bits of [4, 8] as const) {
    if (packed[0] === rows && packed[1] === Math.ceil((cols * bits) / 32)) return bits;
  }
  throw new LlmkitError(
    'checkpoint',
    `${name}: expected [${rows}, ${Math.ceil(cols / 8)}] (4 bits) or [${rows}, ${Math.ceil(cols / 4)}] (8 bits), ` +
      `got [${packed}]`,
  );
}

function intQuantized(module: string, source: TensorSource): WeightData {
  const { name, dtype, shape } = findTensor(source.tensors, `${module}.weight`, 'checkpoint');
  const [rows, cols] = shape;
  if (dtype !== 'I8' || rows === undefined || cols === undefined || shape.length !== 2) {
    throw new LlmkitError('unsupported', `${name}: expected an I8 matrix, got ${dtype} [${shape}]`);
  }
  const codes = toOffsetBinary(source.bytes(name));
  return { format: 'int8', rows, cols, codes, ...groups(module, source, { rows, cols, bits: 8 }) };
}

interface Shape {
  readonly rows: number;
  readonly cols: number;
  readonly bits: 4 | 8;
}

/** Scales and zero points: per group, per channel, or one for the tensor. */
function groups(
  module: string,
  source: TensorSource,
  { rows, cols, bits }: Shape,
): { groupSize: number; scales: Float32Array; zeros?: Uint8Array } {
  if (source.tensors.has(`${module}.weight_g_idx`)) {
    throw new LlmkitError(
      'unsupported',
      `${module}: expected columns in order (actorder null or weight), got weight_g_idx`,
    );
  }
  const stored = scalesOf(source, `${module}${SCALE}`);
  const scales = stored.length === 1 ? new Float32Array(rows).fill(stored[0] as number) : stored;
  const perRow = scales.length / rows;
  const groupSize = cols / perRow;
  if (!Number.isInteger(perRow) || !Number.isInteger(groupSize)) {
    throw new LlmkitError(
      'unsupported',
      `${module}${SCALE}: expected whole groups in rows of ${cols}, got ${scales.length} scales for ${rows} rows`,
    );
  }
  const zeros = zeroPoints(module, source, { rows, cols: perRow, bits });
  return { groupSize, scales, ...(zeros && { zeros }) };
}

/** Packed along dim 0, or (older files, int-quantized) plain signed bytes; in offset binary as the codes. */
function zeroPoints(module: string, source: TensorSource, shape: Shape): Uint8Array | undefined {
  const name = `${module}.weight_zero_point`;
  const tensor = source.tensors.get(name);
  if (!tensor) return undefined;
  const { rows, cols, bits } = shape;
  if (tensor.dtype === 'I32') {
    expectLength(name, Math.ceil((rows * bits) / 32) * cols, tensor.sizeBytes / 4);
    return unpackColumns(source.bytes(name), shape);
  }
  const values = source.floats(name);
  const all = values.length === 1 ? new Float32Array(rows).fill(values[0] as number) : values;
  expectLength(name, rows * cols, all.length);
  return Uint8Array.from(all, (value) => value + 2 ** (bits - 1));
}

/** Tensors that encodeCompressedTensors will make, for CheckpointWriter. */
export function describeCompressedTensors(
  module: string,
  spec: CompressedTensorsSpec,
): TensorSpec[] {
  const { rows, cols, bits, groupSize, symmetric, scaleDtype } = spec;
  const perRow = cols / groupSize;
  if (!Number.isInteger(perRow)) {
    throw new LlmkitError(
      'shape',
      `${module}: expected a group size that divides ${cols}, got ${groupSize}`,
    );
  }
  const zeroPoint: TensorSpec = {
    name: `${module}.weight_zero_point`,
    dtype: 'I32',
    shape: [Math.ceil((rows * bits) / 32), perRow],
  };
  return [
    { name: `${module}${PACKED}`, dtype: 'I32', shape: [rows, Math.ceil((cols * bits) / 32)] },
    { name: `${module}${SCALE}`, dtype: scaleDtype, shape: [rows, perRow] },
    { name: `${module}.weight_shape`, dtype: 'I64', shape: [2] },
    ...(symmetric ? [] : [zeroPoint]),
  ];
}

/** The tensors compressed-tensors stores (pack-quantized) for an int4 or int8 matrix. */
export function encodeCompressedTensors(
  module: string,
  data: WeightData,
  scaleDtype: ScaleDtype,
): NamedTensor[] {
  const { format, rows, cols, codes, groupSize = cols, scales, zeros } = data;
  if ((format !== 'int4' && format !== 'int8') || !(scales instanceof Float32Array)) {
    throw new LlmkitError(
      'unsupported',
      `${module}: compressed-tensors holds int4 or int8, got ${format}`,
    );
  }
  const bits = format === 'int4' ? 4 : 8;
  const shape = { rows, cols, bits } as const;
  const size = new BigInt64Array([BigInt(rows), BigInt(cols)]);
  const bytes = [packRows(codes, shape), toDtype(scales, scaleDtype), new Uint8Array(size.buffer)];
  if (zeros) bytes.push(packColumns(zeros, { rows, cols: cols / groupSize, bits }));
  const spec = { ...shape, groupSize, symmetric: zeros === undefined, scaleDtype };
  return describeCompressedTensors(module, spec).map((tensor, i) => ({
    ...tensor,
    bytes: bytes[i] as Uint8Array,
  }));
}

/** What config.json says of pack-quantized weights. */
export interface CompressedTensorsOptions {
  readonly bits: 4 | 8;
  /** Of the output head. */
  readonly headBits: 4 | 8;
  readonly symmetric: boolean;
  /** Undefined: one scale per channel. */
  readonly groupSize?: number | undefined;
  /** Linear modules left as they are. */
  readonly ignore: readonly string[];
}

/** config.json's quantization_config for pack-quantized weights. */
export function compressedTensorsConfig(
  options: CompressedTensorsOptions,
): Record<string, unknown> {
  const { bits, headBits, ignore } = options;
  const config_groups: Record<string, unknown> = { group_0: configGroup('Linear', bits, options) };
  // Readers take the group of a module's name before that of its class.
  if (headBits !== bits) config_groups.group_1 = configGroup('lm_head', headBits, options);
  return {
    config_groups,
    format: 'pack-quantized',
    ignore: [...ignore],
    kv_cache_scheme: null,
    quant_method: 'compressed-tensors',
    quantization_status: 'compressed',
  };
}

function configGroup(
  target: string,
  bits: 4 | 8,
  { symmetric, groupSize }: CompressedTensorsOptions,
): Record<string, unknown> {
  const weights = {
    actorder: null,
    block_structure: null,
    dynamic: false,
    group_size: groupSize ?? null,
    num_bits: bits,
    observer: 'minmax',
    observer_kwargs: {},
    strategy: groupSize === undefined ? 'channel' : 'group',
    symmetric,
    type: 'int',
  };
  return { input_activations: null, output_activations: null, targets: [target], weights };
}
