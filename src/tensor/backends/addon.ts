import type { Compute } from '../compute.ts';
import type { WeightData, WeightFormat } from '../weight.ts';
import type { AddonArrays } from './addon-arrays.ts';
import type { AddonAttention } from './addon-attention.ts';

export type { BinaryOp, Broadcast, ReduceOp, UnaryOp } from './addon-arrays.ts';
export type { AttentionShape, KvCacheHandle } from './addon-attention.ts';

/** A matrix held by the addon, made by `createWeight`. */
export interface WeightHandle {
  readonly __llmkitWeight: never;
}

/** A [rows, cols] matrix, row-major: frozen in its stored format, or plain float32 (trainable). */
export type Matrix = WeightHandle | Float32Array;

export type NativeActivation =
  | 'silu'
  | 'gelu'
  | 'gelu_tanh'
  | 'quick_gelu'
  | 'relu'
  | 'sigmoid'
  | 'tanh';

/** How a weight was packed: with its bytes, all that products need (kernels/base/packed_weight.h). */
export interface PackedForm {
  /** As it was stored. */
  readonly format: WeightFormat;
  readonly compute: Compute;
  readonly rows: number;
  readonly cols: number;
  /** Columns of a packed group; 0 for 16-bit values, which have no groups. */
  readonly group: number;
  readonly scales: 'none' | 'f32' | 'bf16' | 'f16';
  readonly zeros: boolean;
}

/** Sums of (w - restored)² and of w², in float32 over a few thousand elements, then in float64. */
export type SquareSums = readonly [errors: number, values: number];

/**
 * The raw functions of the addon (kernels/binding). Arguments are positional to keep a call cheap.
 *
 * Tensors are row-major Float32Array views (any byte offset); outputs are the caller's and are
 * overwritten unless it says "adds". Where it says "may be", an output may be the same array as an
 * input; else arrays must not overlap. Element counts that do not fit together throw RangeError,
 * wrong types TypeError; shapes are the caller's business. Results do not depend on the number of
 * threads nor, per row, on the number of rows.
 */
export interface Addon extends AddonArrays, AddonAttention {
  /** Instruction set in use: 'scalar', 'avx2', 'avx512', 'amx' or 'neon' (capped by LLMKIT_ISA). */
  isa(): string;
  /** The instruction set whose kernels each compute type has here: `avx512_vnni`. */
  computeIsas(): Readonly<Record<Compute, string>>;
  /** Threads in use, the caller included: LLMKIT_THREADS, else the CPUs this process may use. */
  threads(): number;
  setThreads(count: number): void;

  /**
   * Maps a file, or what it has of a range, privately (writes stay in memory) until the buffer is collected. Throws
   * an Error with the system's message.
   */
  mapFile(path: string, offset?: number, sizeBytes?: number): ArrayBuffer;

  /**
   * Checks the sizes and keeps the arrays alive, without a copy. With bf16 or int8, packs the weight for
   * products in that arithmetic (linear and its gradients, crossEntropy) with all threads instead, and
   * lets go of the arrays: dequantizeRows then throws RangeError.
   */
  createWeight(data: WeightData, compute: Compute): WeightHandle;
  /** Frees the arrays; using the handle afterwards throws RangeError. */
  disposeWeight(weight: WeightHandle): void;

  /** The version of the packed layout: bytes of another one mean something else. */
  packedLayout(): number;
  /** What a packed weight is made of, the bytes copied; one that is not packed throws RangeError. */
  packedParts(weight: WeightHandle): { form: PackedForm; bytes: Uint8Array };
  /**
   * A packed weight whose bytes are these, aligned to 64 and left alone from now on. A form that no weight is
   * packed in, or that needs another number of bytes, throws RangeError.
   */
  usePacked(form: PackedForm, bytes: Uint8Array): WeightHandle;

  /** Lets go of the pages of these bytes where they are a mapped file's; reading brings them back. */
  releasePages(bytes: Uint8Array): void;

  /**
   * Fills the codes, scales and zero points (where it has them) of `quantized` with the nearest to the
   * f32, bf16 or f16 matrix `values`: the bytes of src/quant/schemes. Scales of int4 and int8 are
   * rounded to scaleType first. Runs beside JavaScript, which must leave the arrays alone meanwhile.
   *
   * @returns what it changed, or null when a value is not finite: the arrays are then of no use
   */
  quantize(
    values: WeightHandle,
    quantized: WeightHandle,
    scaleType: 'f32' | 'bf16' | 'f16',
  ): Promise<SquareSums | null>;
  /** What the quantized matrix lost. */
  quantizationError(values: WeightHandle, quantized: WeightHandle): Promise<SquareSums>;

  /** y [M, rows] = x [M, cols] · weightᵀ + bias [rows], + residual [M, rows] after that */
  linear(
    x: Float32Array,
    weight: Matrix,
    bias: Float32Array | null,
    y: Float32Array,
    cols: number,
    residual?: Float32Array,
  ): void;
  /**
   * `linear` of the same x by several weights, bit for bit: weight, bias and y of each in turn. Weights
   * that compute alike are multiplied in one loop.
   */
  mergedLinear(
    x: Float32Array,
    cols: number,
    ...layers: readonly (Matrix | Float32Array | null)[]
  ): void;
  /** gatedMlp of the two products of mergedLinear; y of the gate becomes the result. */
  gatedLinear(
    name: NativeActivation,
    x: Float32Array,
    cols: number,
    gate: Matrix,
    gateBias: Float32Array | null,
    y: Float32Array,
    up: Matrix,
    upBias: Float32Array | null,
    upY: Float32Array,
  ): void;
  /** dx [M, cols] = dy [M, rows] · weight */
  linearGradInput(dy: Float32Array, weight: Matrix, dx: Float32Array, cols: number): void;
  /** linear with x and a trained weight rounded to bf16 for the call; sums are float32. */
  roundedLinear(
    x: Float32Array,
    weight: Float32Array,
    bias: Float32Array | null,
    y: Float32Array,
    cols: number,
  ): void;
  /** dx [M, cols] = dy [M, rows] · weight, both rounded to bf16. */
  roundedLinearGradInput(
    dy: Float32Array,
    weight: Float32Array,
    dx: Float32Array,
    cols: number,
  ): void;
  /** dweight [rows, cols] = dyᵀ · x, both rounded to bf16. */
  roundedLinearGradWeight(
    dy: Float32Array,
    x: Float32Array,
    dweight: Float32Array,
    cols: number,
  ): void;
  /**
   * y [M, rows] = x · weightᵀ + bias + low · bᵀ, where low [M, R] = scale · dropped · aᵀ, with a [R, cols]
   * and b [rows, R]; dropped may be x.
   */
  loraLinear(
    x: Float32Array,
    dropped: Float32Array,
    weight: Matrix,
    a: Float32Array,
    b: Float32Array,
    scale: number,
    bias: Float32Array | null,
    y: Float32Array,
    low: Float32Array,
    cols: number,
  ): void;
  /** ddropped: null where dropped was x; dx is then the sum of both. */
  loraLinearGrad(
    dy: Float32Array,
    dropped: Float32Array,
    low: Float32Array,
    weight: Matrix,
    a: Float32Array,
    b: Float32Array,
    scale: number,
    dx: Float32Array,
    ddropped: Float32Array | null,
    da: Float32Array,
    db: Float32Array,
    cols: number,
  ): void;
  /** y [ids.length, cols] = the rows ids of weight, in float32; an id outside throws RangeError. */
  dequantizeRows(weight: WeightHandle, ids: Int32Array, y: Float32Array): void;
  /**
   * y [batch, m, n] = op(a) · op(b), batch = max(batchA, batchB); matrix i of the result is made
   * of matrices i mod batchA and i mod batchB. a is [m, k] ([k, m] with transposeA), b [k, n].
   */
  matmul(
    a: Float32Array,
    b: Float32Array,
    y: Float32Array,
    batchA: number,
    batchB: number,
    m: number,
    n: number,
    k: number,
    transposeA: boolean,
    transposeB: boolean,
  ): void;

  /** y = x / sqrt(mean(x²) + eps) · weight, rows of weight.length; y may be x. */
  rmsNorm(x: Float32Array, weight: Float32Array, eps: number, y: Float32Array): void;
  /** dx may be dy. dweight: null = not wanted. */
  rmsNormGrad(
    x: Float32Array,
    weight: Float32Array,
    eps: number,
    dy: Float32Array,
    dx: Float32Array,
    dweight: Float32Array | null,
  ): void;
  layerNorm(
    x: Float32Array,
    weight: Float32Array,
    bias: Float32Array | null,
    eps: number,
    y: Float32Array,
  ): void;
  layerNormGrad(
    x: Float32Array,
    weight: Float32Array,
    eps: number,
    dy: Float32Array,
    dx: Float32Array,
    dweight: Float32Array | null,
    dbias: Float32Array | null,
  ): void;

  /**
   * Rotate-half position encoding of x [P, heads, headSize] with cos, sin [P, R/2], on the first R
   * of headSize; inverse (the gradient) uses -sin. y may be x.
   */
  rope(
    x: Float32Array,
    cos: Float32Array,
    sin: Float32Array,
    y: Float32Array,
    heads: number,
    headSize: number,
    inverse: boolean,
  ): void;

  /** y may be x. */
  activation(name: NativeActivation, x: Float32Array, y: Float32Array): void;
  /** dx = dy · activation'(x); dx may be dy. */
  activationGrad(name: NativeActivation, x: Float32Array, dy: Float32Array, dx: Float32Array): void;
  /** y = activation(gate) · up; y may be gate or up. */
  gatedMlp(name: NativeActivation, gate: Float32Array, up: Float32Array, y: Float32Array): void;
  gatedMlpGrad(
    name: NativeActivation,
    gate: Float32Array,
    up: Float32Array,
    dy: Float32Array,
    dgate: Float32Array,
    dup: Float32Array,
  ): void;

  /** gatedMlp that also keeps gate and up in bf16: kept is as long as y, 2 · y.length halves. */
  gatedMlpKeep(
    name: NativeActivation,
    gate: Float32Array,
    up: Float32Array,
    y: Float32Array,
    kept: Float32Array,
  ): void;
  /** y again, from what was kept. */
  gatedMlpKept(name: NativeActivation, kept: Float32Array, y: Float32Array): void;
  gatedMlpKeptGrad(
    name: NativeActivation,
    kept: Float32Array,
    dy: Float32Array,
    dgate: Float32Array,
    dup: Float32Array,
  ): void;

  /**
   * losses [M] = logSumExp - logit of the target, of the logits h [M, cols] · weightᵀ + bias, made
   * in chunks and never kept; target -1 gives 0. logSumExp [M] is kept for the gradient. With
   * `rounded` a Float32Array's products are in bf16, as those of roundedLinear.
   */
  crossEntropy(
    h: Float32Array,
    weight: Matrix,
    bias: Float32Array | null,
    targets: Int32Array,
    losses: Float32Array,
    logSumExp: Float32Array,
    cols: number,
    rounded: boolean,
  ): void;
  /** dlosses [M] to dh [M, cols], and to dweight [rows, cols] and dbias [rows] where wanted. */
  crossEntropyGrad(
    h: Float32Array,
    weight: Matrix,
    bias: Float32Array | null,
    targets: Int32Array,
    logSumExp: Float32Array,
    dlosses: Float32Array,
    dh: Float32Array,
    dweight: Float32Array | null,
    dbias: Float32Array | null,
    cols: number,
    rounded: boolean,
  ): void;

  /** One update in place of parameter, m and v; step counts from 1; gradient is scaled first. */
  adamw(
    parameter: Float32Array,
    gradient: Float32Array,
    m: Float32Array,
    v: Float32Array,
    step: number,
    learningRate: number,
    beta1: number,
    beta2: number,
    eps: number,
    weightDecay: number,
    gradientScale: number,
  ): void;

  /**
   * Inverted dropout of x [rows, cols], keys [rows, 2]; y may be x. All integers are uint32:
   *   mix(h): h ^= h >>> 16; h *= 0x7feb352d; h ^= h >>> 15; h *= 0x846ca68b; h ^= h >>> 16
   *   row  = mix(mix(mix(mix(seed) + stream) + keys[r, 0]) + keys[r, 1])
   *   drop = mix(row + column · 0x9e3779b9) >>> 8 < floor(rate · 2^24 + 0.5)
   *   y = drop ? 0 : x · float32(1 / (1 - rate))
   */
  dropout(
    x: Float32Array,
    keys: Int32Array,
    rate: number,
    seed: number,
    stream: number,
    y: Float32Array,
  ): void;
}
