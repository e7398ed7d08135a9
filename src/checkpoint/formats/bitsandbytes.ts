import { LlmkitError } from '../../errors.js';
import { FP4_TABLE, NF4_TABLE } from '../../tensor/code-tables.js';
import type { NestedScales, WeightData } from '../../tensor/weight.js';
import { toDtype } from '../dtype.js';
import { findTensor, type TensorSource } from '../safetensors.js';
import type { NamedTensor, TensorSpec } from '../writer.js';
import {
  expectLength,
  type QuantizationFormat,
  type QuantizedLayout,
  scalesOf,
  toOffsetBinary,
} from './layout.js';
import { type QuantState, quantStateJson, readQuantState, type TorchDtype } from './quant-state.js';

export type { TorchDtype } from './quant-state.js';

/** What of a bitsandbytes layout is known before the codes are chosen. */
export interface BitsandbytesSpec {
  readonly rows: number;
  readonly cols: number;
  readonly quantType: 'nf4' | 'fp4';
  readonly groupSize: number;
  readonly doubleQuant: boolean;
  /** Of the weights before quantization. */
  readonly dtype: TorchDtype;
}

const QUANT_TYPES = ['nf4', 'fp4'] as const;
const NESTED_BLOCK = 256;
/** No float32 has more characters: 17 digits, sign, point and exponent. */
const LONGEST_OFFSET = -1.2345678901234567e-30;
const STATE = '.weight.quant_state.bitsandbytes__';

/** Options of quantization_config that leave the stored bytes' meaning as it is. */
const KNOWN_OPTIONS = new Set([
  'quant_method',
  '_load_in_8bit',
  '_load_in_4bit',
  'load_in_4bit',
  'load_in_8bit',
  'bnb_4bit_quant_type',
  'bnb_4bit_use_double_quant',
  'bnb_4bit_compute_dtype',
  'bnb_4bit_quant_storage',
  'llm_int8_threshold',
  'llm_int8_skip_modules',
  'llm_int8_enable_fp32_cpu_offload',
  'llm_int8_has_fp16_weight',
  'modules_to_not_convert',
]);

/** bitsandbytes: NF4 and FP4 with plain or double-quantized scales, and LLM.int8 weights. */
export const bitsandbytes: QuantizationFormat = {
  method: 'bitsandbytes',
  layout(options, where): QuantizedLayout {
    const unknown = Object.keys(options).filter((key) => !KNOWN_OPTIONS.has(key));
    if (unknown.length > 0) {
      throw new LlmkitError(
        'unsupported',
        `${where}: expected bitsandbytes' options (${[...KNOWN_OPTIONS].join(', ')}), got ${unknown.join(', ')}`,
      );
    }
    return { method: 'bitsandbytes', modules, matrix };
  },
};

function modules(tensorNames: Iterable<string>): string[] {
  const found: string[] = [];
  for (const name of tensorNames) {
    const state = name.indexOf(STATE);
    if (state > 0) found.push(name.slice(0, state));
    else if (name.endsWith('.SCB')) found.push(name.slice(0, -'.SCB'.length));
  }
  return found;
}

function matrix(module: string, source: TensorSource): WeightData {
  for (const quantType of QUANT_TYPES) {
    const name = `${module}${STATE}${quantType}`;
    if (source.tensors.has(name)) {
      return fourBit(module, source, readQuantState(source.bytes(name), name));
    }
  }
  return eightBit(module, source);
}

function fourBit(module: string, source: TensorSource, state: QuantState): WeightData {
  const weight = `${module}.weight`;
  const [rows, cols] = state.shape;
  const codes = source.bytes(weight); // whatever dtype bnb_4bit_quant_storage gives the same bytes
  expectLength(weight, Math.ceil((rows * cols) / 2), codes.length);
  checkMap(source, `${weight}.quant_map`, tableOf(state.quantType));
  const groups = Math.ceil((rows * cols) / state.blockSize);
  const scales = state.nested
    ? nestedScales(weight, source, state)
    : scalesOf(source, `${weight}.absmax`);
  const stored = scales instanceof Float32Array ? scales : scales.codes;
  expectLength(`${weight}.absmax`, groups, stored.length);
  return { format: state.quantType, rows, cols, codes, groupSize: state.blockSize, scales };
}

function nestedScales(weight: string, source: TensorSource, state: QuantState): NestedScales {
  const { blockSize, offset } = state.nested as NonNullable<QuantState['nested']>;
  const codes = source.bytes(`${weight}.absmax`);
  const absmax = scalesOf(source, `${weight}.nested_absmax`);
  const map = scalesOf(source, `${weight}.nested_quant_map`);
  expectLength(`${weight}.nested_absmax`, Math.ceil(codes.length / blockSize), absmax.length);
  expectLength(`${weight}.nested_quant_map`, 256, map.length);
  return { codes, map, absmax, blockSize, offset };
}

function tableOf(quantType: 'nf4' | 'fp4'): Float32Array {
  return (quantType === 'nf4' ? NF4_TABLE : FP4_TABLE).map((value) => value + 0); // no negative zero
}

/** The values of the codes are fixed; a file with others would decode to nonsense. */
function checkMap(source: TensorSource, name: string, table: Float32Array): void {
  const stored = source.floats(name);
  expectLength(name, table.length, stored.length);
  const differs = stored.findIndex((value, i) => !(Math.abs(value - (table[i] as number)) <= 1e-6));
  if (differs < 0) return;
  throw new LlmkitError(
    'unsupported',
    `${name}: expected ${table[differs]} for code ${differs}, got ${stored[differs]}`,
  );
}

/** LLM.int8: W = q · SCB / 127, one scale per row. */
function eightBit(module: string, source: TensorSource): WeightData {
  const { name, dtype, shape } = findTensor(source.tensors, `${module}.weight`, 'checkpoint');
  const [rows, cols] = shape;
  if (dtype !== 'I8' || rows === undefined || cols === undefined || shape.length !== 2) {
    throw new LlmkitError('checkpoint', `${name}: expected an I8 matrix, got ${dtype} [${shape}]`);
  }
  const order = `${module}.weight_format`;
  if (source.tensors.has(order) && source.bytes(order)[0] !== 0) {
    throw new LlmkitError(
      'unsupported',
      `${order}: expected 0 (row-major), got ${source.bytes(order)[0]}`,
    );
  }
  const scales = source.floats(`${module}.SCB`).map((absmax) => absmax / 127);
  expectLength(`${module}.SCB`, rows, scales.length);
  return {
    format: 'int8',
    rows,
    cols,
    codes: toOffsetBinary(source.bytes(name)),
    groupSize: cols,
    scales,
  };
}

/** Tensors that encodeBitsandbytes will make, for CheckpointWriter (the quant_state's length is an upper bound). */
export function describeBitsandbytes(module: string, spec: BitsandbytesSpec): TensorSpec[] {
  const { rows, cols, groupSize, doubleQuant, quantType } = spec;
  const weight = `${module}.weight`;
  const groups = Math.ceil((rows * cols) / groupSize);
  const nested = doubleQuant ? { blockSize: NESTED_BLOCK, offset: LONGEST_OFFSET } : undefined;
  const state = quantStateJson({ ...spec, blockSize: groupSize, shape: [rows, cols], nested });
  const scales: TensorSpec[] = doubleQuant
    ? [
        { name: `${weight}.absmax`, dtype: 'U8', shape: [groups] },
        {
          name: `${weight}.nested_absmax`,
          dtype: 'F32',
          shape: [Math.ceil(groups / NESTED_BLOCK)],
        },
        { name: `${weight}.nested_quant_map`, dtype: 'F32', shape: [256] },
      ]
    : [{ name: `${weight}.absmax`, dtype: 'F32', shape: [groups] }];
  return [
    { name: weight, dtype: 'U8', shape: [Math.ceil((rows * cols) / 2), 1] },
    ...scales,
    { name: `${weight}.quant_map`, dtype: 'F32', shape: [16] },
    { name: `${module}${STATE}${quantType}`, dtype: 'U8', shape: [state.length], atMost: true },
  ];
}

/** The tensors bitsandbytes stores for an nf4 or fp4 matrix. */
export function encodeBitsandbytes(
  module: string,
  data: WeightData,
  dtype: TorchDtype,
): NamedTensor[] {
  const { format, rows, cols, codes, groupSize, scales } = data;
  if ((format !== 'nf4' && format !== 'fp4') || !scales || !groupSize) {
    throw new LlmkitError(
      'unsupported',
      `${module}: bitsandbytes' 4-bit layout holds nf4 or fp4, got ${format}`,
    );
  }
  const isNested = !(scales instanceof Float32Array);
  const spec = { rows, cols, quantType: format, groupSize, doubleQuant: isNested, dtype };
  const nested = isNested ? { blockSize: scales.blockSize, offset: scales.offset } : undefined;
  const state = quantStateJson({ ...spec, blockSize: groupSize, shape: [rows, cols], nested });
  const stored = isNested
    ? [scales.codes, toDtype(scales.absmax, 'F32'), toDtype(scales.map, 'F32')]
    : [toDtype(scales, 'F32')];
  const bytes = [codes, ...stored, toDtype(tableOf(format), 'F32'), state];
  return describeBitsandbytes(module, spec).map(({ name, dtype: stored, shape, atMost }, i) => {
    const part = bytes[i] as Uint8Array;
    return { name, dtype: stored, shape: atMost ? [part.length] : shape, bytes: part };
  });
}

/** config.json's quantization_config for 4-bit bitsandbytes weights. */
export function bitsandbytesConfig(options: {
  quantType: 'nf4' | 'fp4';
  doubleQuant: boolean;
  dtype: TorchDtype;
  /** Linear modules left in 16 bits; null = lm_head, transformers' own default. */
  skipModules: readonly string[] | null;
}): Record<string, unknown> {
  return {
    _load_in_4bit: true,
    _load_in_8bit: false,
    bnb_4bit_compute_dtype: options.dtype,
    bnb_4bit_quant_storage: 'uint8',
    bnb_4bit_quant_type: options.quantType,
    bnb_4bit_use_double_quant: options.doubleQuant,
    llm_int8_enable_fp32_cpu_offload: false,
    llm_int8_has_fp16_weight: false,
    llm_int8_skip_modules: options.skipModules,
    llm_int8_threshold: 6.0,
    load_in_4bit: true,
    load_in_8bit: false,
    quant_method: 'bitsandbytes',
  };
}
