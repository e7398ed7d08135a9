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

/** The scale and, where there are any, the zero point of each group. */
export interface Grid {
  readonly scales: Float32Array;
  readonly zeros?: Uint8Array;
}

/** What the codes of a group stand for in units of its scale, all in float32. */
export interface Levels {
  /** Codes and zero points are 0 … codes − 1. */
  readonly codes: number;
  /** The zero point of a group that stores none. */
  readonly zeroCode: number;
  /** A value in units of the scale, rounded as it is when its code is chosen. */
  steps(value: number, scale: number): number;
  /** The level of the nearest code; that of the zero point is 0. */
  nearest(steps: number, zero: number): number;
  /** The scales as a file gives them back. */
  stored(scales: Float32Array, dtype: StoredDtype): Float32Array;
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
  readonly levels: Levels;
  /**
   * The grid whose ends are the largest values of each group: what rounding to nearest takes.
   *
   * @param values [rows · cols] row-major, all finite
   */
  grid(values: Float32Array, options: SchemeOptions): Grid;
  /**
   * The nearest codes of a grid.
   *
   * @param values [rows, cols] row-major, all finite
   * @param grid its scales as they are stored
   */
  encode(
    values: Float32Array,
    shape: readonly [rows: number, cols: number],
    grid: Grid,
    options: SchemeOptions,
  ): WeightData;
}
