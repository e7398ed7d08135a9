#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// bf16 values in memory: include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

/// The nearest bf16 value, ties to even, as float32.
inline Vec round_to_bf16(Vec x) {
  const Index bits = as_int(x);
  const Index odd = bit_and(shift_right<16>(bits), splat_int(1));
  return as_float(bit_and(add(bits, add(odd, splat_int(0x7fff))), splat_int(0xffff0000)));
}

/// The bits of the nearest bf16 values. What is no number stays none, whatever its bits.
inline Index halves_of(Vec x) {
  const Vec quiet = as_float(bit_or(as_int(x), splat_int(0x400000)));
  return shift_right<16>(as_int(select(equal(x, x), round_to_bf16(x), quiet)));
}

/// 16 pairs of values rounded to bf16. By instructions for it numbers below the normal ones become
/// zeros.
inline Vec rounded_pairs(Vec even, Vec odd) {
#if defined(__AVX512BF16__)
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(odd.v, even.v);
  return {_mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both))};
#else
  const Index low = shift_right<16>(as_int(round_to_bf16(even)));
  return as_float(bit_or(low, as_int(round_to_bf16(odd))));
#endif
}

/// 16 rows of two columns as one line of pairs.
inline void store_rounded_line(uint8_t* line, Vec even, Vec odd) {
  store(reinterpret_cast<float*>(line), rounded_pairs(even, odd));
}

/// n values rounded to bf16.
inline void to_bf16(size_t n, const float* x, uint16_t* y) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_halves(y + i, halves_of(load(x + i)));
  if (i == n) return;
  uint16_t rest[kLanes];
  store_halves(rest, halves_of(load_partial(x + i, n - i)));
  std::memcpy(y + i, rest, (n - i) * sizeof(uint16_t));
}

inline void from_bf16(size_t n, const uint16_t* x, float* y) {
  const auto values = [](const uint16_t* p) {
    return load_bf16(reinterpret_cast<const uint8_t*>(p));
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, values(x + i));
  if (i == n) return;
  uint16_t rest[kLanes] = {};
  std::memcpy(rest, x + i, (n - i) * sizeof(uint16_t));
  store_partial(y + i, values(rest), n - i);
}

}  // namespace
}  // namespace llmkit
