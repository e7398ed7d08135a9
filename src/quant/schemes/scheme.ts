import type { WeightData, WeightFormat } from '../../tensor/weight.js';

/** The dtype of the checkpoint's own weights: integer schemes store their scales in it. */
export type StoredDtype = 'F32' | 'F16' | 'BF16';

/** What a user may choose about a scheme, resolved for one matrix. */
export interface SchemeOptions {
  /** Weights that share one scale. */
  readonly groupSize: number;
  readonly dtype: StoredDtype;
  /** Stores the scales in 8 bits (bitsandbytes' double quantization). */
  readonly doubleQuant?: boolean;
  /** One zero point per group. */
  readonly asymmetric?: boolean;
}

/** A way to store a weight matrix in few bits. Schemes know nothing of models, LoRA or files. */
export interface QuantScheme {
  readonly format: WeightFormat;
  readonly bits: 4 | 8;
  /** The on-disk layout (checkpoint/formats) that holds it. */
  readonly layout: 'bitsandbytes' | 'compressed-tensors';
  /** Group sizes tried when the user names none, best first; `row` is one scale per row. */
  readonly defaultGroupSizes: readonly (number | 'row')[];
  /** Whether a group may run from one row into the next (blocks of the flattened matrix). */
  readonly groupsCrossRows: boolean;
  /** The group sizes that the layout can hold. */
  readonly allowedGroupSizes: { readonly smallest: number; readonly largest: number };
  /** The choices it understands; others are a usage error. */
  readonly supports: { readonly doubleQuant: boolean; readonly asymmetric: boolean };
  /** Largest rounding error of a symmetric group, as a fraction of the group's largest magnitude. */
  readonly maxError: number;
  /** @param values [rows, cols] row-major, all finite */
  quantize(
    values: Float32Array,
    shape: readonly [rows: number, cols: number],
    options: SchemeOptions,
  ): WeightData;
}
