import { LlmkitError } from '../errors.js';
import { int32 } from '../tensor/ops/index.js';
import { type Tensor, type Tensor2D, type Tensor3D, tensor3d } from '../tensor/tfjs.js';
import type { DecoderConfig } from './config.js';
import { fillRope, type RopeTables } from './rope.js';

/** One row of a batch. */
export interface TokenRow {
  readonly ids: ArrayLike<number>;
  /** Packed segments that do not see each other; their lengths sum to ids.length. */
  readonly segmentLengths?: readonly number[];
}

/** What each token sees, as tensors of one scope. */
export interface Visibility {
  /** int32 [B, T]: the last key each query sees. */
  readonly last: Tensor2D;
  /** int32 [B, T]: the first one, by the window of the layer. */
  readonly firsts: ReadonlyMap<number | undefined, Tensor2D>;
  /** [B, T, R / 2] of RoPE. */
  readonly angles?: { readonly cos: Tensor3D; readonly sin: Tensor3D };
  /** int32, B values: where the rows' keys go in a cache; left out: the cache's own count of its tokens. */
  readonly positions?: Tensor;
  /** By layer, where a step that the device runs by itself finds the keys; see `DecodeSteps`. */
  readonly tables?: readonly Tensor[];
}

/** What `Batch` says of its tokens, as arrays. */
export interface TokenValues {
  /** [B, T] */
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  readonly lasts: Int32Array;
  /** By attention window. */
  readonly firsts: ReadonlyMap<number | undefined, Int32Array>;
  /** [B, T, R / 2] */
  readonly angles?: RopeTables;
}

/** The tokens of a forward pass. Each function makes its tensors in the tidy scope of the caller. */
export interface PassTokens {
  /** int32 [B, T] */
  readonly idTensor: () => Tensor2D;
  /** int32 [B, T]: rows of a table of learned positions whose first `offset` rows are not theirs. */
  readonly positionRows: (offset: number) => Tensor2D;
  readonly visibility: () => Visibility;
}

/** The tensors of it, to free where there is no scope. */
export function tensorsOf({ last, firsts, angles }: Visibility): readonly Tensor[] {
  return [last, ...firsts.values(), ...(angles ? [angles.cos, angles.sin] : [])];
}

/** A run of tokens of one sequence: a packed segment, or what a cached row goes on with. */
interface Segment {
  readonly row: number;
  /** Index of its first token in the row. */
  readonly start: number;
  readonly count: number;
  /** Tokens of the sequence that a cache holds already. */
  readonly past: number;
}

/**
 * Rows right-padded to the longest, with their positions and what each token sees: all as inclusive
 * ranges of keys, so that padding, packing, windows and caches are one thing to attention.
 */
export class Batch implements PassTokens {
  readonly size: number;
  /** Tokens of the longest row. */
  readonly length: number;
  /** [B, T], 0 in the padding. */
  readonly ids: Int32Array;
  /** [B, T]: place within the sequence. */
  readonly positions: Int32Array;
  readonly #config: DecoderConfig;
  readonly #segments: readonly Segment[];

  /** @param pasts tokens per row that a cache holds */
  constructor(config: DecoderConfig, rows: readonly TokenRow[], pasts?: readonly number[]) {
    this.size = rows.length;
    this.length = rows.reduce((most, row) => Math.max(most, row.ids.length), 0);
    if (this.size * this.length === 0) {
      throw new LlmkitError('shape', 'decoder: expected at least one token, got none');
    }
    this.#config = config;
    this.#segments = rows.flatMap((row, b) => segmentsOf(row, b, pasts?.[b]));
    this.ids = new Int32Array(this.size * this.length);
    this.positions = new Int32Array(this.size * this.length);
    rows.forEach(({ ids }, b) => {
      checkIds(ids, config.vocabSize);
      this.ids.set(Array.from(ids), b * this.length);
    });
    for (const segment of this.#segments) this.#place(segment);
  }

  idTensor(): Tensor2D {
    return this.#tensor(this.ids);
  }

  positionRows(offset: number): Tensor2D {
    return this.#tensor(this.positions.map((position) => position + offset));
  }

  values(): TokenValues {
    const windows = [...new Set(this.#config.windows)];
    const firsts = new Map(windows.map((window) => [window, this.#firsts(window)] as const));
    const angles = this.#angles();
    const { ids, positions } = this;
    return { ids, positions, lasts: this.#lasts(), firsts, ...(angles && { angles }) };
  }

  visibility(): Visibility {
    const { lasts, firsts, angles } = this.values();
    const table = (values: Float32Array) =>
      tensor3d(values, [this.size, this.length, values.length / (this.size * this.length)]);
    return {
      last: this.#tensor(lasts),
      firsts: new Map([...firsts].map(([window, first]) => [window, this.#tensor(first)])),
      ...(angles && { angles: { cos: table(angles.cos), sin: table(angles.sin) } }),
    };
  }

  /** int32 [B, T] of values in that order. */
  #tensor(values: Int32Array): Tensor2D {
    return int32(values, [this.size, this.length]);
  }

  #place(segment: Segment): void {
    const { maxLength, learnedPositions } = this.#config;
    const length = segment.past + segment.count;
    if (learnedPositions && length > maxLength) {
      throw new LlmkitError(
        'shape',
        `decoder: expected at most ${maxLength} tokens, the model's learned positions, got ${length}`,
      );
    }
    const start = segment.row * this.length + segment.start;
    for (let t = 0; t < segment.count; t++) this.positions[start + t] = segment.past + t;
  }

  #firsts(window = Number.POSITIVE_INFINITY): Int32Array {
    return this.#ranges(0, (segment, key) => Math.max(segment.start, key - window + 1));
  }

  #lasts(): Int32Array {
    return this.#ranges(-1, (_, key) => key);
  }

  /** [B, T] of a value per token, computed from the index of its own key. */
  #ranges(padding: number, value: (segment: Segment, key: number) => number): Int32Array {
    const ranges = new Int32Array(this.size * this.length).fill(padding);
    for (const segment of this.#segments) {
      const start = segment.row * this.length + segment.start;
      for (let t = 0; t < segment.count; t++) {
        ranges[start + t] = value(segment, segment.past + segment.start + t);
      }
    }
    return ranges;
  }

  #angles(): RopeTables | undefined {
    const { rope } = this.#config;
    if (rope === undefined) return undefined;
    const size = (this.size * this.length * rope.size) / 2;
    const tables = { cos: new Float32Array(size), sin: new Float32Array(size) };
    for (const { row, start, count, past } of this.#segments) {
      const first = row * this.length + start;
      fillRope(rope, tables, { row: first, firstPosition: past, count, length: past + count });
    }
    return tables;
  }
}

function segmentsOf({ ids, segmentLengths }: TokenRow, row: number, past?: number): Segment[] {
  if (segmentLengths === undefined) return [{ row, start: 0, count: ids.length, past: past ?? 0 }];
  if (past !== undefined) {
    throw new LlmkitError('usage', 'decoder: packed segments and a cache do not go together');
  }
  let start = 0;
  const segments = segmentLengths.map((count) => {
    start += count;
    return { row, start: start - count, count, past: 0 };
  });
  if (start === ids.length) return segments;
  throw new LlmkitError(
    'shape',
    `decoder: segment lengths must sum to ${ids.length} tokens, got ${start}`,
  );
}

function checkIds(ids: ArrayLike<number>, vocabSize: number): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] ?? -1;
    if (Number.isInteger(id) && id >= 0 && id < vocabSize) continue;
    throw new LlmkitError('shape', `decoder: token ids must be below ${vocabSize}, got ${id}`);
  }
}
