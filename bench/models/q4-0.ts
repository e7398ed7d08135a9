import { fromBf16 } from '../../src/tensor/half-floats.js';

const BLOCK = 32;
const BLOCK_BYTES = 18;

/**
 * Packs bf16 values as ggml's Q4_0: blocks of 32 with one f16 scale, d = (value furthest from 0) / -8,
 * codes round(x / d) + 8, the block's first half in the low nibbles.
 *
 * @param bf16 little-endian; a multiple of 32 values
 * @see https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c quantize_row_q4_0_ref
 */
export function packQ4(bf16: Uint8Array): Uint8Array {
  const values = floats(bf16);
  const packed = new Uint8Array((values.length / BLOCK) * BLOCK_BYTES);
  for (let block = 0; block * BLOCK < values.length; block++) {
    const source = values.subarray(block * BLOCK, (block + 1) * BLOCK);
    packBlock(source, packed.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES));
  }
  return packed;
}

function packBlock(values: Float32Array, block: Uint8Array): void {
  let furthest = 0;
  for (const value of values) {
    if (Math.abs(value) > Math.abs(furthest)) furthest = value;
  }
  const scale = furthest / -8;
  const inverse = scale === 0 ? 0 : 1 / scale;
  const half = toHalf(scale);
  block[0] = half & 0xff;
  block[1] = half >> 8;
  const code = (i: number) => Math.min(15, Math.floor((values[i] as number) * inverse + 8.5));
  for (let i = 0; i < BLOCK / 2; i++) block[2 + i] = code(i) | (code(i + BLOCK / 2) << 4);
}

/** The floats of bf16 bytes. */
export function floats(bf16: Uint8Array): Float32Array {
  return fromBf16(new Uint16Array(bf16.buffer, bf16.byteOffset, bf16.length / 2));
}

/** The bits of the nearest f16, ties to even; scales are far below its largest value. */
function toHalf(value: number): number {
  const sign = value < 0 ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === 0) return sign;
  const exponent = Math.max(-14, Math.floor(Math.log2(size)));
  const mantissa = roundEven(size / 2 ** (exponent - 10));
  // A mantissa that rounds up to 2048 carries into the exponent by itself.
  return sign | (((exponent + 14) << 10) + mantissa);
}

function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0);
}
