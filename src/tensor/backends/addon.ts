import type { Compute } from '../compute.ts';
import type { WeightData, WeightFormat } from '../weight.ts';
import type { AddonArrays } from './addon-arrays.ts';
import type { AddonAttention } from './addon-attention.ts';
import type { Elements, Floats, Ints } from './arrays.ts';

export type { BinaryOp, Broadcast, ReduceOp, UnaryOp } from './addon-arrays.ts';
export type { AttentionShape, KvCacheHandle } from './addon-attention.ts';

/** A matrix held by the addon, made by `createWeight`. */
export interface WeightHandle {
  readonly __llmkitWeight: never;
}

/** Calls that can be made again, kept by `endRecording`. */
export interface RecordingHandle {
  readonly __llmkitRecording: never;
}

/** A [rows, cols] matrix, row-major: frozen in its stored format, or plain float32 (trainable). */
export type Matrix<F extends Floats> = WeightHandle | F;

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

/** Where a matrix begins in an open file. */
export interface MatrixFile {
  readonly descriptor: number;
  readonly offset: number;
}

/** Bytes of an open file. */
export interface OpenRange extends MatrixFile {
  readonly sizeBytes: number;
}

/** An open file by two descriptors, one of them opened with O_DIRECT. */
export interface DirectFile {
  readonly descriptor: number;
  readonly direct: number;
}

/** How scales are chosen (kernels/cpu/quantize/quantize.h): the names of src/quant/methods. */
export type RoundingMethod = 'rtn' | 'search';

/**
 * The raw functions that kernels call, of the addon (kernels/binding) and of the GPU's (kernels/cuda/binding).
 * Arguments are positional to keep a call cheap.
 *
 * Tensors are row-major arrays of type F and I: Float32Array views (any byte offset), or arrays of the GPU;
 * outputs are the caller's and are
 * overwritten unless it says "adds". Elements may be held as bf16: read exactly, and rounded once when they are written
 * (of linear layers only beside a packed weight). Where it says "may be", an output may be the same array as an
 * input; else arrays must not overlap. Element counts that do not fit together throw RangeError,
 * wrong types TypeError; shapes are the caller's business. Results do not depend on the number of
 * threads nor, per row, on the number of rows.
 */
export interface AddonKernels<F extends Floats, I extends Ints>
  extends AddonArrays<F, I>,
    AddonAttention<F, I> {
  /**
   * Checks the sizes and keeps the arrays alive, without a copy. With bf16 or int8, packs the weight for
   * products in that arithmetic (linear and its gradients, crossEntropy) with all threads instead, and
   * lets go of the arrays: dequantizeRows then throws RangeError, except on the CPU where the packed form has the
   * very values (`hasRows`).
   */
  createWeight(data: WeightData, compute: Compute): WeightHandle;
  /** Frees the arrays; using the handle afterwards throws RangeError. */
  disposeWeight(weight: WeightHandle): void;

  /**
   * y [M, rows] = x [M, cols] · weightᵀ + bias [rows], + residual [M, rows] after that.
   * updates, on a GPU and beside packed weights only: a [R, cols], b [rows, R] and scale, null without one; as in
   * loraLinear, bit for bit.
   */
  linear(
    x: Elements<F>,
    weight: Matrix<F>,
    bias: F | null,
    y: Elements<F>,
    cols: number,
    residual?: F,
    ...updates: readonly (F | number | null)[]
  ): void;
  /**
   * `linear` of the same x by several weights, bit for bit: weight, bias and y of each in turn. Weights
   * that compute alike are multiplied in one loop.
   */
  mergedLinear(
    x: Elements<F>,
    cols: number,
    ...layers: readonly (Matrix<F> | Elements<F> | null)[]
  ): void;
  /** activation of `linear`, bit for bit; updates as there. */
  activatedLinear(
    name: NativeActivation,
    x: F,
    weight: Matrix<F>,
    bias: F | null,
    y: F,
    cols: number,
    ...updates: readonly (F | number | null)[]
  ): void;
  /**
   * gatedMlp of the two products of mergedLinear, bit for bit; y of the gate becomes the result. upY: room for
   * the other product; null on a GPU, which makes both in one kernel where their weights are stored alike. updates:
   * as of `linear`, of gate and of up.
   */
  gatedLinear(
    name: NativeActivation,
    x: F,
    cols: number,
    gate: Matrix<F>,
    gateBias: F | null,
    y: F,
    up: Matrix<F>,
    upBias: F | null,
    upY: F | null,
    ...updates: readonly (F | number | null)[]
  ): void;
  /** dx [M, cols] = dy [M, rows] · weight */
  linearGradInput(dy: F, weight: Matrix<F>, dx: F, cols: number): void;
  /** linear with x and a trained weight rounded to bf16 for the call; sums are float32. */
  roundedLinear(x: Elements<F>, weight: F, bias: F | null, y: Elements<F>, cols: number): void;
  /** dx [M, cols] = dy [M, rows] · weight, both rounded to bf16. */
  roundedLinearGradInput(dy: F, weight: F, dx: F, cols: number): void;
  /** dweight [rows, cols] = dyᵀ · x, both rounded to bf16. */
  roundedLinearGradWeight(dy: F, x: Elements<F>, dweight: F, cols: number): void;
  /**
   * y [M, rows] = x · weightᵀ + bias + low · bᵀ, where low [M, R] = scale · dropped · aᵀ, with a [R, cols]
   * and b [rows, R]; dropped may be x.
   */
  loraLinear(
    x: Elements<F>,
    dropped: Elements<F>,
    weight: Matrix<F>,
    a: F,
    b: F,
    scale: number,
    bias: F | null,
    y: Elements<F>,
    low: F,
    cols: number,
  ): void;
  /** ddropped: null where dropped was x; dx is then the sum of both. */
  loraLinearGrad(
    dy: F,
    dropped: Elements<F>,
    low: F,
    weight: Matrix<F>,
    a: F,
    b: F,
    scale: number,
    dx: F,
    ddropped: F | null,
    da: F,
    db: F,
    cols: number,
  ): void;
  /** y = x, rounded to the nearest (ties to even) where y is bf16 and x is not. */
  convert(x: Elements<F>, y: Elements<F>): void;
  /** y [ids.length, cols] = the rows ids of weight, in float32; an id outside throws RangeError. */
  dequantizeRows(weight: WeightHandle, ids: I, y: F): void;
  /**
   * y [batch, m, n] = op(a) · op(b), batch = max(batchA, batchB); matrix i of the result is made
   * of matrices i mod batchA and i mod batchB. a is [m, k] ([k, m] with transposeA), b [k, n].
   */
  matmul(
    a: F,
    b: F,
    y: F,
    batchA: number,
    batchB: number,
    m: number,
    n: number,
    k: number,
    transposeA: boolean,
    transposeB: boolean,
  ): void;

  /** y = x / sqrt(mean(x²) + eps) · weight, rows of weight.length; y may be x. */
  rmsNorm(x: Elements<F>, weight: F, eps: number, y: Elements<F>): void;
  /** dx may be dy. A gradient that is null is not wanted. */
  rmsNormGrad(x: Elements<F>, weight: F, eps: number, dy: F, dx: F | null, dweight: F | null): void;
  layerNorm(x: Elements<F>, weight: F, bias: F | null, eps: number, y: Elements<F>): void;
  layerNormGrad(
    x: Elements<F>,
    weight: F,
    eps: number,
    dy: F,
    dx: F | null,
    dweight: F | null,
    dbias: F | null,
  ): void;

  /**
   * Rotate-half position encoding of x [P, heads, headSize] with cos, sin [P, R/2], on the first R
   * of headSize; inverse (the gradient) uses -sin. y may be x.
   */
  rope(
    x: Elements<F>,
    cos: F,
    sin: F,
    y: Elements<F>,
    heads: number,
    headSize: number,
    inverse: boolean,
  ): void;

  /** y may be x. */
  activation(name: NativeActivation, x: Elements<F>, y: Elements<F>): void;
  /** dx = dy · activation'(x); dx may be dy. */
  activationGrad(name: NativeActivation, x: Elements<F>, dy: F, dx: F): void;
  /** y = activation(gate) · up; y may be gate or up. */
  gatedMlp(name: NativeActivation, gate: Elements<F>, up: Elements<F>, y: Elements<F>): void;
  gatedMlpGrad(
    name: NativeActivation,
    gate: Elements<F>,
    up: Elements<F>,
    dy: F,
    dgate: F,
    dup: F,
  ): void;

  /**
   * losses [M] = logSumExp - logit of the target, of the logits h [M, cols] · weightᵀ + bias, made
   * in chunks; target -1 gives 0. logSumExp [M] is for the gradient, and `kept`, on the CPU, where
   * the gradient is then made with the same bits without the logits' product. With `rounded` an
   * array's products are in bf16, as those of roundedLinear.
   */
  crossEntropy(
    h: F,
    weight: Matrix<F>,
    bias: F | null,
    targets: I,
    losses: F,
    logSumExp: F,
    cols: number,
    rounded: boolean,
    kept?: F,
  ): void;
  /** dlosses [M] to dh [M, cols], and to dweight [rows, cols] and dbias [rows] where wanted. */
  crossEntropyGrad(
    h: F,
    weight: Matrix<F>,
    bias: F | null,
    targets: I,
    logSumExp: F,
    dlosses: F,
    dh: F,
    dweight: F | null,
    dbias: F | null,
    cols: number,
    rounded: boolean,
    kept?: F,
  ): void;

  /** One update in place of parameter, m and v; step counts from 1; gradient is scaled first. */
  adamw(
    parameter: F,
    gradient: F,
    m: F,
    v: F,
    step: number,
    learningRate: number,
    beta1: number,
    beta2: number,
    eps: number,
    weightDecay: number,
    gradientScale: number,
  ): void;

  /** The same with m and v in 8 bits: codes of n elements, four in each int32, and ⌈n / 256⌉ scales. */
  adamw8bit(
    parameter: F,
    gradient: F,
    m: I,
    v: I,
    mScales: F,
    vScales: F,
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
  dropout(x: Elements<F>, keys: I, rate: number, seed: number, stream: number, y: F): void;
}

/** What the addon can do besides, with the host's memory, threads and files. */
export interface Addon extends AddonKernels<Float32Array, Int32Array> {
  /** Instruction set in use: 'scalar', 'avx2', 'avx512', 'amx' or 'neon' (capped by LLMKIT_ISA). */
  isa(): string;
  /** The instruction set whose kernels each compute type has here: `avx512_vnni`. */
  computeIsas(): Readonly<Partial<Record<Compute, string>>>;
  /** Threads in use, the caller included: LLMKIT_THREADS, else the CPUs this process may use. */
  threads(): number;
  setThreads(count: number): void;

  /** How many values crossEntropy keeps of m rows; 0 where they would be many, or its products are not packed. */
  crossEntropyKept(weight: Matrix<Float32Array>, m: number, cols: number, rounded: boolean): number;

  /** Memory of any content that begins with a line of the cache, freed when it is collected. */
  alignedBuffer(sizeBytes: number): ArrayBuffer;

  /**
   * Maps a file, or what it has of a range, privately (writes stay in memory) until the buffer is collected. Throws
   * an Error with the system's message.
   */
  mapFile(path: string, offset?: number, sizeBytes?: number): ArrayBuffer;

  /**
   * Keeps the calls of functions that compute from here to endRecording, in this thread of JavaScript, to make
   * them again. One at a time, else RangeError.
   */
  beginRecording(): void;
  /** null where a call is among them that cannot be made again, or where no recording is under way. */
  endRecording(): RecordingHandle | null;
  /**
   * Makes the calls again, on the same arrays, which may hold other values.
   *
   * @returns false, having made none, when a weight or a cache has been disposed of or rearranged since
   */
  replay(recording: RecordingHandle): boolean;

  /**
   * createWeight beside JavaScript, which leaves the arrays alone meanwhile; as many at a time as there are threads for
   * kernels, others wait. f32 throws RangeError.
   *
   * @returns the packed weight, or an Error where there is no memory for it
   */
  packWeight(data: WeightData, compute: Compute): Promise<WeightHandle>;
  /** The version of the packed layout: bytes of another one mean something else. */
  packedLayout(): number;
  /** What a packed weight is made of, the bytes copied; one that is not packed throws RangeError. */
  packedParts(weight: WeightHandle): { form: PackedForm; bytes: Uint8Array };
  /**
   * A packed weight whose bytes are these, aligned to 64 and left alone from now on. A form that no weight is
   * packed in, or that needs another number of bytes, throws RangeError.
   */
  usePacked(form: PackedForm, bytes: Uint8Array): WeightHandle;

  /**
   * sha256 (hex) of ranges of open files, 32 at a time on each of `threads` threads beside JavaScript.
   *
   * @param ranges three numbers for each: descriptor, offset, size in bytes; the files stay open meanwhile
   * @returns the hashes in the ranges' order, or an Error with the system's message or once `stop` was called; null
   *   where the processor has no vectors for it
   */
  hashRanges(
    ranges: readonly number[],
    threads: number,
  ): { readonly hashes: Promise<string[]>; stop(): void } | null;

  /**
   * Writes bytes, or a range of another file, beside JavaScript, which must leave them alone meanwhile. Most of it goes
   * to the disk past the system's memory, where the file system can.
   *
   * @returns rejected with the system's message
   */
  writeDirect(file: DirectFile, position: number, source: Uint8Array | OpenRange): Promise<void>;

  /** Whether dequantizeRows can read a weight: every one that is not packed, and those that packing did not round. */
  hasRows(weight: WeightHandle): boolean;

  /** Lets go of the pages of these bytes where they are a mapped file's; reading brings them back. */
  releasePages(bytes: Uint8Array): void;

  /**
   * Fills the codes, scales and zero points (where it has them) of `quantized` with those that the method
   * chooses for the f32, bf16 or f16 matrix `values`: the bytes of src/quant/methods. Scales of int4 and
   * int8 are rounded to scaleType first. Runs beside JavaScript, which must leave the arrays alone meanwhile.
   *
   * @param file what `values` are mapped from; they are then read from it, and the memory is left alone
   * @returns what it changed, or null when a value is not finite: the arrays are then of no use
   */
  quantize(
    values: WeightHandle,
    quantized: WeightHandle,
    scaleType: 'f32' | 'bf16' | 'f16',
    method: RoundingMethod,
    file?: MatrixFile,
  ): Promise<SquareSums | null>;
  /** What the quantized matrix lost. */
  quantizationError(values: WeightHandle, quantized: WeightHandle): Promise<SquareSums>;

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
  /**
   * losses [M] as of crossEntropy; greedy [M] is 1 where the target is the first of the largest logits, else 0.
   */
  tokenScores(
    h: Float32Array,
    weight: Matrix<Float32Array>,
    bias: Float32Array | null,
    targets: Int32Array,
    losses: Float32Array,
    greedy: Int32Array,
    cols: number,
    rounded: boolean,
  ): void;
}
