import type { Floats, Ints } from './arrays.ts';

export type UnaryOp =
  | 'abs'
  | 'erf'
  | 'exp'
  | 'log'
  | 'neg'
  | 'reciprocal'
  | 'relu'
  | 'rsqrt'
  | 'sigmoid'
  | 'sqrt'
  | 'square'
  | 'step'
  | 'tanh';
export type BinaryOp = 'add' | 'sub' | 'mul' | 'div' | 'max' | 'min' | 'squared_difference';
export type ReduceOp = 'sum' | 'mean' | 'max';

/**
 * How an operand of `binary` covers the [rows, cols] result: 'full' [rows, cols], 'row' one row
 * [cols] for all, 'column' one value per row [rows], 'scalar' one value.
 */
export type Broadcast = 'full' | 'row' | 'column' | 'scalar';

/** Functions of the addon for plain arrays; see `Addon`. */
export interface AddonArrays<F extends Floats, I extends Ints> {
  /** y may be x. */
  unary(op: UnaryOp, x: F, y: F): void;
  /** y [rows, cols] = a op b; y may be an operand that is 'full'. */
  binary(
    op: BinaryOp,
    a: F,
    b: F,
    y: F,
    cols: number,
    broadcastA: Broadcast,
    broadcastB: Broadcast,
  ): void;
  /** Over the last axis (cols); y may be x. */
  softmax(x: F, y: F, cols: number): void;
  /** y [outer, inner] = op over the middle axis of x [outer, middle, inner]. */
  reduce(op: ReduceOp, x: F, y: F, middle: number, inner: number): void;
  /** First index of the largest value of each row of cols. */
  argmax(x: F, y: I, cols: number): void;

  /** y = x with axis i of y being axis permutation[i] of x; up to 6 axes. */
  transpose(x: F, y: F, shape: readonly number[], permutation: readonly number[]): void;
  /**
   * y[yStart + Σ i · yStrides] = x[xStart + Σ i · xStrides] for all places i of the shape, up to 12 axes, of arrays of
   * one type; a place outside throws RangeError.
   */
  stridedCopy<A extends F | I>(
    x: A,
    y: A,
    shape: readonly number[],
    xStart: number,
    xStrides: readonly number[],
    yStart: number,
    yStrides: readonly number[],
  ): void;
  /** y [outer, ids.length, inner] = x [outer, axis, inner] at ids; outside throws RangeError. */
  gather(x: F, ids: I, y: F, axis: number, inner: number): void;
  /** Adds row r of x [ids.length, cols] to row ids[r] of y [rows, cols], r ascending. */
  scatterAdd(x: F, ids: I, y: F, cols: number): void;
}
