import { LlmkitError } from '../errors.js';
import { type CodeTable, FP4_TABLE, NF4_TABLE } from './code-tables.js';
import type { Compute } from './compute.js';
import { fromBf16, fromF16 } from './half-floats.js';

/** How the values of a `Weight` are stored. */
export type WeightFormat = 'f32' | 'bf16' | 'f16' | 'int8' | 'int4' | 'nf4' | 'fp4';

/**
 * Scales stored as 8-bit codes (bitsandbytes' double quantization):
 * scale[i] = map[codes[i]] · absmax[⌊i / blockSize⌋] + offset.
 */
export interface NestedScales {
  readonly codes: Uint8Array;
  readonly map: Float32Array;
  readonly absmax: Float32Array;
  readonly blockSize: number;
  readonly offset: number;
}

/**
 * A [rows, cols] matrix, row-major, in its stored format. Group g of the flattened matrix covers the
 * elements [g · groupSize, (g + 1) · groupSize).
 */
export interface WeightData {
  readonly format: WeightFormat;
  readonly rows: number;
  readonly cols: number;
  /**
   * f32, bf16, f16: little-endian values. int8: one code 0..255 per byte. int4: element 2i in the low
   * nibble. nf4, fp4: element 2i in the high nibble. May be an unaligned view of a mapped file.
   */
  readonly codes: Uint8Array;
  readonly groupSize?: number;
  readonly scales?: Float32Array | NestedScales;
  /** int4, int8: one zero point per group (absent: 8 and 128); value = (code − zero) · scale. */
  readonly zeros?: Uint8Array;
}

/** What a matrix is, without its values. */
export type WeightSizes = Pick<WeightData, 'format' | 'rows' | 'cols'>;

const BITS: Readonly<Record<WeightFormat, number>> = {
  f32: 32,
  bf16: 16,
  f16: 16,
  int8: 8,
  int4: 4,
  nf4: 4,
  fp4: 4,
};

/** What a backend's packed form is enough for: products, and reading rows as well. */
export type PackedUse = 'products' | 'products and rows';

/** A backend's own form of a weight, and how it is let go of. */
export interface WeightForm {
  /** What the backend makes it with; see `Weight.handle`. */
  readonly make: object;
  readonly value: object;
  readonly use: PackedUse;
  release(): void;
}

/** A frozen matrix in its stored format; a backend that wants its own form of it makes it once. */
export class Weight {
  readonly format: WeightFormat;
  readonly rows: number;
  readonly cols: number;
  /** The arithmetic of products with it; see `computeOf`. */
  readonly compute: Compute;
  #data: WeightData | undefined;
  /** By what makes them. */
  readonly #forms = new Map<object, Pick<WeightForm, 'value' | 'release'>>();
  #stored: Weight | undefined;

  /**
   * @param data without its values where they are given up to `form`
   * @param form the backend's own, where it has been made already
   */
  constructor(data: WeightData | WeightSizes, compute: Compute = 'f32', form?: WeightForm) {
    if ('codes' in data) {
      checkWeight(data);
      this.#data = data;
    }
    this.format = data.format;
    this.rows = data.rows;
    this.cols = data.cols;
    this.compute = compute;
    if (form) this.keepForm(form);
  }

  /** Takes over a backend's own form, which it has made of this weight already. */
  keepForm(form: WeightForm): void {
    this.#forms.set(form.make, form);
  }

  /** Reading its codes throws LlmkitError `kernel` once they are given up; tfjs looks at this of anything. */
  get data(): WeightData {
    return this.#data ?? withoutCodes(this);
  }

  /**
   * The same matrix for reading rows, whose values are exact under every compute type: the stored bytes, or, where they
   * are given up, what the backend has in their place.
   */
  get stored(): Weight {
    if (this.compute === 'f32' || this.#data === undefined) return this;
    this.#stored ??= new Weight(this.#data);
    return this.#stored;
  }

  /** Lets go of the bytes, where the backend's own form is all that is needed from now on. */
  giveUpData(): void {
    this.#data = undefined;
  }

  /** Bytes of codes, scales and zero points together. */
  get sizeBytes(): number {
    const { codes, scales, zeros } = this.data;
    const scaleBytes =
      scales === undefined || scales instanceof Float32Array
        ? (scales?.byteLength ?? 0)
        : scales.codes.byteLength + scales.absmax.byteLength + scales.map.byteLength;
    return codes.byteLength + scaleBytes + (zeros?.byteLength ?? 0);
  }

  /** A backend's own form, made on first use and released by `dispose`; `make` tells backends apart. */
  handle<T extends object>(
    make: (data: WeightData, compute: Compute) => T,
    release: (handle: T) => void,
  ): T {
    const known = this.#forms.get(make);
    if (known !== undefined) return known.value as T;
    const value = make(this.data, this.compute);
    this.#forms.set(make, { value, release: () => release(value) });
    return value;
  }

  /** Releases what a backend keeps for it; the bytes belong to whoever made `data`. */
  dispose(): void {
    for (const { release } of this.#forms.values()) release();
    this.#forms.clear();
    this.#stored?.dispose();
    this.#stored = undefined;
  }
}

/** What is left of a matrix whose codes are given up. */
function withoutCodes({ format, rows, cols }: WeightSizes): WeightData {
  return {
    ...{ format, rows, cols },
    get codes(): never {
      throw new LlmkitError('kernel', `Weight: its ${format} codes were given up when packed`);
    },
  };
}

/**
 * The values of rows [rowStart, rowEnd) as float32, in plain TypeScript: the oracle of every kernel.
 *
 * @returns [rowEnd − rowStart, cols], a copy
 */
export function dequantize(data: WeightData, rowStart = 0, rowEnd = data.rows): Float32Array {
  const [start, end] = [rowStart * data.cols, rowEnd * data.cols];
  switch (data.format) {
    case 'f32':
      return new Float32Array(data.codes.slice(start * 4, end * 4).buffer);
    case 'bf16':
    case 'f16':
      return decode16(data, start, end);
    case 'int8':
    case 'int4':
      return decodeIntegers(data, start, end);
    case 'nf4':
      return decodeTable(data, NF4_TABLE, start, end);
    case 'fp4':
      return decodeTable(data, FP4_TABLE, start, end);
  }
}

/** Scale of every group as float32, double quantization undone. */
export function decodeScales(data: WeightData): Float32Array {
  const { scales } = data;
  if (scales === undefined) throw new LlmkitError('shape', `Weight: ${data.format} needs scales`);
  if (scales instanceof Float32Array) return scales;
  const { codes, map, absmax, blockSize, offset } = scales;
  // Rounded after each step, as bitsandbytes does in float32.
  return Float32Array.from(codes, (code, i) => {
    const scaled = Math.fround((map[code] ?? 0) * (absmax[Math.floor(i / blockSize)] ?? 0));
    return scaled + offset;
  });
}

function decode16(data: WeightData, start: number, end: number): Float32Array {
  const halves = new Uint16Array(data.codes.slice(start * 2, end * 2).buffer);
  return data.format === 'f16' ? fromF16(halves) : fromBf16(halves);
}

function decodeIntegers(data: WeightData, start: number, end: number): Float32Array {
  const { codes, zeros, groupSize = data.cols, format } = data;
  const scales = decodeScales(data);
  const values = new Float32Array(end - start);
  const defaultZero = format === 'int8' ? 128 : 8;
  for (let i = start; i < end; i++) {
    const code = format === 'int8' ? (codes[i] ?? 0) : ((codes[i >> 1] ?? 0) >> ((i & 1) * 4)) & 15;
    const group = Math.floor(i / groupSize);
    values[i - start] = (code - (zeros?.[group] ?? defaultZero)) * (scales[group] ?? 0);
  }
  return values;
}

function decodeTable(data: WeightData, table: CodeTable, start: number, end: number): Float32Array {
  const { codes, groupSize = data.cols } = data;
  const scales = decodeScales(data);
  const values = new Float32Array(end - start);
  for (let i = start; i < end; i++) {
    const code = ((codes[i >> 1] ?? 0) >> ((1 - (i & 1)) * 4)) & 15;
    values[i - start] = (table[code] ?? 0) * (scales[Math.floor(i / groupSize)] ?? 0);
  }
  return values;
}

function checkWeight(data: WeightData): void {
  const { format, rows, cols, codes, scales, zeros } = data;
  const size = rows * cols;
  expectLength(`${format} codes`, codes, Math.ceil((size * BITS[format]) / 8));
  if (BITS[format] > 8) return;
  const groups = Math.ceil(size / (data.groupSize ?? cols));
  if (scales === undefined) throw new LlmkitError('shape', `Weight: ${format} needs scales`);
  if (scales instanceof Float32Array) expectLength('scales', scales, groups);
  else checkNestedScales(scales, groups);
  if (zeros !== undefined) expectLength('zeros', zeros, groups);
}

function checkNestedScales(scales: NestedScales, groups: number): void {
  expectLength('scale codes', scales.codes, groups);
  expectLength('scale map', scales.map, 256);
  expectLength('scale absmax', scales.absmax, Math.ceil(groups / scales.blockSize));
}

function expectLength(what: string, values: { length: number }, length: number): void {
  if (values.length === length) return;
  throw new LlmkitError(
    'shape',
    `Weight: ${what} must have length ${length}, got ${values.length}`,
  );
}
