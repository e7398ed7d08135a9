/**
 * The values of bits of bf16: the upper half of those of float32.
 *
 * @param values where they go
 */
export function fromBf16(
  halves: Uint16Array,
  values: Float32Array = new Float32Array(halves.length),
): Float32Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] as number) << 16;
  return values;
}

/** The values of bits of half precision. */
export function fromF16(halves: Uint16Array): Float32Array {
  const bits = new Int32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halfToFloatBits(halves[i] as number);
  return new Float32Array(bits.buffer);
}

/** Bits of the float32 with the value of a half-precision number. */
function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  let mantissa = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (mantissa << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (mantissa << 13);
  if (mantissa === 0) return sign;
  const shift = Math.clz32(mantissa) - 21; // brings the leading one to bit 10
  mantissa = (mantissa << shift) & 0x3ff;
  return sign | ((113 - shift) << 23) | (mantissa << 13);
}
