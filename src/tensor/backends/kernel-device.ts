import type { Held } from '../ops/held.js';
import type { DataType, TensorInfo } from '../tfjs.js';
import type { Weight } from '../weight.js';
import type { AddonKernels, Matrix, WeightHandle } from './addon.js';
import type { Elements, Floats, Ints } from './arrays.js';

/** A block of a tensor that goes into another: where it starts and how far apart neighbours along each axis lie. */
export interface BlockMove {
  readonly x: TensorInfo;
  /** Elements along each axis. */
  readonly shape: readonly number[];
  readonly from: BlockPlace;
  readonly to: BlockPlace;
}

/** Where a block lies in an array: the element it starts at, the distance of neighbours along each axis. */
export interface BlockPlace {
  readonly start: number;
  readonly strides: readonly number[];
}

/** A tensor made of blocks of others. */
export interface Assembly {
  readonly shape: number[];
  readonly dtype: DataType;
  /** Of elements that no move covers; left out where there are none. */
  readonly fill?: number;
}

/** What kernels need of a backend that keeps its tensors where an addon's functions find them. */
export interface KernelDevice<F extends Floats, I extends Ints> {
  readonly addon: AddonKernels<F, I>;

  /** A float32 tensor of any content: the output of a kernel. */
  output(shape: number[], length: number): { info: TensorInfo; values: F };
  /** The same, to be held as bf16 where that is asked for. */
  output(shape: number[], length: number, held: Held): { info: TensorInfo; values: Elements<F> };
  /** The same, int32. */
  intOutput(shape: number[], length: number): { info: TensorInfo; values: I };
  /** A tensor whose elements are all the same number; not a string, not complex. */
  filled(shape: number[], dtype: DataType, value: number): TensorInfo;
  /** The same storage under another shape. */
  share(x: TensorInfo, shape: number[]): TensorInfo;
  /** Memory of any content for a product within the kernel, which functions of a GPU make room for themselves: null there. */
  roomForProduct(length: number): F | null;
  release(values: F): void;
  /** How many values crossEntropy is to keep of M rows for its gradient; 0 on a GPU. */
  keptOfLoss(weight: Matrix<F>, M: number, cols: number, rounded: boolean): number;

  /** The values of a float32 tensor; only for reading, only within the kernel. What is held as bf16 is widened. */
  floats(x: TensorInfo): F;
  /** The same as they are held, for functions that read both. */
  elements(x: TensorInfo): Elements<F>;
  /** The values of an int32 tensor; only for reading, only within the kernel. */
  ints(x: TensorInfo): I;
  /** The values of an int32 tensor where the host has them without waiting. */
  hostInts(x: TensorInfo): Int32Array | undefined;
  /** The values of a float32 tensor that the kernel changes in place. */
  changing(x: TensorInfo): F;
  /** Those of an int32 tensor. */
  changingInts(x: TensorInfo): I;
  /** These values, which never change, as an argument. */
  constant(values: readonly number[]): F;
  /** The addon's form of a frozen weight, made on first use. */
  weight(weight: Weight): WeightHandle;

  /** Sets all values to one number. */
  fill(values: F, value: number): void;
  /** Whether `assembled` knows tensors of this type. */
  assembles(dtype: DataType): boolean;
  /** A tensor put together from blocks of others, all of its type. */
  assembled(assembly: Assembly, moves: readonly BlockMove[]): TensorInfo;
}
