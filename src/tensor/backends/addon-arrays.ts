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
export interface AddonArrays {
  /** y may be x. */
  unary(op: UnaryOp, x: Float32Array, y: Float32Array): void;
  /** y [rows, cols] = a op b; y may be an operand that is 'full'. */
  binary(
    op: BinaryOp,
    a: Float32Array,
    b: Float32Array,
    y: Float32Array,
    cols: number,
    broadcastA: Broadcast,
    broadcastB: Broadcast,
  ): void;
  /** Over the last axis (cols); y may be x. */
  softmax(x: Float32Array, y: Float32Array, cols: number): void;
  /** y [outer, inner] = op over the middle axis of x [outer, middle, inner]. */
  reduce(op: ReduceOp, x: Float32Array, y: Float32Array, middle: number, inner: number): void;
  /** First index of the largest value of each row of cols. */
  argmax(x: Float32Array, y: Int32Array, cols: number): void;

  /**
   * The token chosen from logits [V] as `chooseToken` does; -1 when none is finite or one is
   * infinite. seen: distinct ids that the penalty lowers; outside the vocabulary throws RangeError.
   */
  sample(
    logits: Float32Array,
    seen: Int32Array | null,
    penalty: number,
    temperature: number,
    topK: number,
    topP: number,
    uniform: number,
  ): number;

  /** y = x with axis i of y being axis permutation[i] of x; up to 6 axes. */
  transpose(
    x: Float32Array,
    y: Float32Array,
    shape: readonly number[],
    permutation: readonly number[],
  ): void;
  /** y [outer, ids.length, inner] = x [outer, axis, inner] at ids; outside throws RangeError. */
  gather(x: Float32Array, ids: Int32Array, y: Float32Array, axis: number, inner: number): void;
  /** Adds row r of x [ids.length, cols] to row ids[r] of y [rows, cols], r ascending. */
  scatterAdd(x: Float32Array, ids: Int32Array, y: Float32Array, cols: number): void;
}
