import type { WeightData } from '../../tensor/weight.js';
import type { QuantScheme, SchemeOptions } from '../schemes/scheme.js';

/** A way to choose the codes of a scheme for one matrix. */
export type QuantMethod = (
  scheme: QuantScheme,
  values: Float32Array,
  shape: readonly [rows: number, cols: number],
  options: SchemeOptions,
) => WeightData;
