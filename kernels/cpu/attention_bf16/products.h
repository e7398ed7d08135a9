#pragma once

#include "base/simd/avx512.h"

// What products of bf16 take, in tiles (amx_products.h) and in vectors (avx512_bf16_products.h).

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// Rows of bf16 values along the sum.
struct Rows {
  const uint16_t* values;
  size_t ld;
};
/// Pairs of values along the sum: element (k, n) is values[k / 2 * ld + 2 * n + k % 2].
struct Pairs {
  const uint16_t* values;
  size_t ld;
};
struct Sums {
  float* values;
  size_t ld;
};

struct ProductSize {
  size_t m, n, k;  // multiples of 32
};

/// 16 pairs of a and b, rounded.
inline __m512i paired(Vec a, Vec b) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(b.v, a.v));
}
inline void store_pairs(uint16_t* p, Vec a, Vec b) { _mm512_storeu_si512(p, paired(a, b)); }
inline void store_rounded(uint16_t* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(a.v));
}

}  // namespace
}  // namespace llmkit
