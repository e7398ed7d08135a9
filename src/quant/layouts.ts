import {
  bitsandbytesConfig,
  describeBitsandbytes,
  encodeBitsandbytes,
  type TorchDtype,
} from '../checkpoint/formats/bitsandbytes.js';
import {
  compressedTensorsConfig,
  describeCompressedTensors,
  encodeCompressedTensors,
} from '../checkpoint/formats/compressed-tensors.js';
import type { NamedTensor, TensorSpec } from '../checkpoint/writer.js';
import type { WeightData } from '../tensor/weight.js';
import type { QuantScheme, StoredDtype } from './schemes/scheme.js';

/** One matrix to be quantized, known from headers alone. */
export interface PlannedMatrix {
  /** Module path as the file names it. */
  readonly module: string;
  readonly scheme: QuantScheme;
  readonly rows: number;
  readonly cols: number;
  readonly groupSize: number;
  /** dtype of the weights before quantization. */
  readonly dtype: StoredDtype;
}

/** What holds for all matrices of a checkpoint. */
export interface PlannedCheckpoint {
  /** Absent: one scale per row. */
  readonly groupSize?: number;
  readonly doubleQuant: boolean;
  readonly asymmetric: boolean;
  readonly dtype: StoredDtype;
  /** Of the head, where the user chose one for it. */
  readonly head?: QuantScheme | undefined;
  /** Linear modules left as they are. */
  readonly skipped: readonly string[];
}

/** How a scheme's matrices are laid out in a checkpoint. */
export interface Layout {
  /** Whether it can hold layers that the original stores transposed (GPT-2's Conv1D). */
  readonly holdsTransposed: boolean;
  /** Whether its schemes may stand side by side in one checkpoint. */
  readonly mixesSchemes: boolean;
  /** The tensors that `encode` will make. */
  describe(matrix: PlannedMatrix, plan: PlannedCheckpoint): TensorSpec[];
  encode(matrix: PlannedMatrix, data: WeightData): NamedTensor[];
  /**
   * quantization_config for config.json.
   *
   * @param scheme of all layers but perhaps the head
   */
  config(scheme: QuantScheme, plan: PlannedCheckpoint): Record<string, unknown>;
}

const TORCH: Readonly<Record<StoredDtype, TorchDtype>> = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
};

const bitsandbytes: Layout = {
  holdsTransposed: true,
  mixesSchemes: false,
  describe({ module, scheme, rows, cols, groupSize, dtype }, { doubleQuant }) {
    const quantType = scheme.format as 'nf4' | 'fp4';
    const spec = { rows, cols, quantType, groupSize, doubleQuant, dtype: TORCH[dtype] };
    return describeBitsandbytes(module, spec);
  },
  encode: ({ module, dtype }, data) => encodeBitsandbytes(module, data, TORCH[dtype]),
  config({ format }, { doubleQuant, dtype, skipped }) {
    const quantType = format as 'nf4' | 'fp4';
    // Its readers leave out the head by themselves only when there is no list.
    const skipModules = skipped.length === 1 && skipped[0] === 'lm_head' ? null : skipped;
    return bitsandbytesConfig({ quantType, doubleQuant, dtype: TORCH[dtype], skipModules });
  },
};

const compressedTensors: Layout = {
  holdsTransposed: false,
  mixesSchemes: true,
  describe({ module, scheme: { bits }, rows, cols, groupSize, dtype }, { asymmetric }) {
    const spec = { rows, cols, bits, groupSize, symmetric: !asymmetric, scaleDtype: dtype };
    return describeCompressedTensors(module, spec);
  },
  encode: ({ module, dtype }, data) => encodeCompressedTensors(module, data, dtype),
  config({ bits }, { asymmetric, groupSize, head, skipped }) {
    return compressedTensorsConfig({
      bits,
      headBits: head?.bits ?? bits,
      symmetric: !asymmetric,
      groupSize,
      ignore: skipped,
    });
  },
};

/** The layouts, by the name that a scheme gives. */
export const layouts: Readonly<Record<QuantScheme['layout'], Layout>> = {
  bitsandbytes,
  'compressed-tensors': compressedTensors,
};
