import { LlmkitError } from '../errors.js';
import { convertNatively } from '../tensor/backends/native-services.js';
import { fromBf16, fromF16 } from '../tensor/half-floats.js';

/** Bits per element of every dtype that a safetensors file may name (safetensors 0.8). */
const BITS = {
  F64: 64,
  F32: 32,
  F16: 16,
  BF16: 16,
  I64: 64,
  I32: 32,
  I16: 16,
  I8: 8,
  U64: 64,
  U32: 32,
  U16: 16,
  U8: 8,
  BOOL: 8,
  C64: 64,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F4: 4,
} as const;

/** Element type of a stored tensor, by its safetensors name. */
export type Dtype = keyof typeof BITS;

/** Bits of one element. */
export function dtypeBits(dtype: Dtype): number {
  return BITS[dtype];
}

/** Whether safetensors knows a dtype of this name. */
export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(BITS, name);
}

/** The same bytes at an address that is a multiple of `alignment`; copied only where they are not. */
function aligned(bytes: Uint8Array, alignment: number): Uint8Array {
  return bytes.byteOffset % alignment === 0 ? bytes : bytes.slice();
}

/** A view of little-endian bytes as 32-bit floats; copies where they are unaligned. */
export function asFloat32(bytes: Uint8Array): Float32Array {
  const view = aligned(bytes, 4);
  return new Float32Array(view.buffer, view.byteOffset, view.byteLength / 4);
}

function asUint16(bytes: Uint8Array): Uint16Array {
  const view = aligned(bytes, 2);
  return new Uint16Array(view.buffer, view.byteOffset, view.byteLength / 2);
}

/** Fewer values are converted sooner than the addon is asked. */
const NATIVE_VALUES = 2 ** 10;

/** Makes memory of any content. */
export type Allocate = (sizeBytes: number) => ArrayBuffer;

function bf16Floats(bytes: Uint8Array, allocate: Allocate = (size) => new ArrayBuffer(size)) {
  const source = asUint16(bytes);
  const values = new Float32Array(allocate(4 * source.length));
  if (source.length >= NATIVE_VALUES && convertNatively(source, values)) return values;
  return fromBf16(source, values);
}

/** Values of a plain numeric array type; 64-bit integers beyond 2^53 round. */
function fromArray(
  bytes: Uint8Array,
  view: (buffer: ArrayBufferLike, offset: number, length: number) => ArrayLike<number | bigint>,
  size: number,
): Float32Array {
  const source = aligned(bytes, size);
  const values = view(source.buffer, source.byteOffset, source.byteLength / size);
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = Number(values[i]);
  return out;
}

const DECODERS: Partial<Record<Dtype, (bytes: Uint8Array, allocate?: Allocate) => Float32Array>> = {
  F32: (bytes) => asFloat32(bytes).slice(),
  BF16: bf16Floats,
  F16: (bytes) => fromF16(asUint16(bytes)),
  F64: (bytes) => fromArray(bytes, (b, o, n) => new Float64Array(b, o, n), 8),
  I64: (bytes) => fromArray(bytes, (b, o, n) => new BigInt64Array(b, o, n), 8),
  U64: (bytes) => fromArray(bytes, (b, o, n) => new BigUint64Array(b, o, n), 8),
  I32: (bytes) => fromArray(bytes, (b, o, n) => new Int32Array(b, o, n), 4),
  U32: (bytes) => fromArray(bytes, (b, o, n) => new Uint32Array(b, o, n), 4),
  I16: (bytes) => fromArray(bytes, (b, o, n) => new Int16Array(b, o, n), 2),
  U16: (bytes) => fromArray(bytes, (b, o, n) => new Uint16Array(b, o, n), 2),
  I8: (bytes) => Float32Array.from(new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length)),
  U8: (bytes) => Float32Array.from(bytes),
  BOOL: (bytes) => Float32Array.from(bytes, (value) => (value === 0 ? 0 : 1)),
};

/**
 * Stored little-endian values as a new float32 array.
 *
 * @param allocate for those of BF16, which may be many
 * @throws LlmkitError `unsupported` for dtypes that are recognised but have no use here (F8, F6, F4, C64)
 */
export function toFloats(bytes: Uint8Array, dtype: Dtype, allocate?: Allocate): Float32Array {
  const decode = DECODERS[dtype];
  if (decode) return decode(bytes, allocate);
  throw new LlmkitError(
    'unsupported',
    `dtype: expected one of ${Object.keys(DECODERS).join(' ')}, got ${dtype}`,
  );
}

function toBf16(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  if (values.length >= NATIVE_VALUES && convertNatively(values, out)) return out;
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < out.length; i++) {
    const value = bits[i] as number;
    const notANumber = (value & 0x7fffffff) > 0x7f800000;
    // Adding half of the last kept bit, less one unless that bit is odd, rounds ties to even.
    out[i] = notANumber ? (value >>> 16) | 0x40 : (value + 0x7fff + ((value >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** Bits of the half-precision number nearest to a float32, ties to even, infinite beyond 65504. */
function floatToHalfBits(value: number): number {
  const sign = (value >>> 16) & 0x8000;
  const magnitude = value & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and above rounds to infinity
  if (magnitude >= 0x38800000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude < 0x33000000) return sign; // below half of the smallest subnormal
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (rest > half || (rest === half && kept % 2 === 1) ? 1 : 0));
}

function toF16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(bits.length);
  for (let i = 0; i < out.length; i++) out[i] = floatToHalfBits(bits[i] as number);
  return out;
}

/** Little-endian bytes of the values in a dtype, rounded to nearest even as PyTorch does; F32 is a view. */
export function toDtype(values: Float32Array, dtype: 'F32' | 'F16' | 'BF16'): Uint8Array {
  const array = dtype === 'F32' ? values : dtype === 'BF16' ? toBf16(values) : toF16(values);
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
