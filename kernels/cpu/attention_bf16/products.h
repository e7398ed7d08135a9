#pragma once

#include "base/simd/amx.h"

// Products of bf16 in tile registers: include base/simd/avx512.h first.

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

/// 32 by 32 sums from (i, j).
template <bool kAccumulate>
inline void multiply_tile(const Rows& a, const Pairs& b, size_t k, float* sums, size_t ld) {
  if constexpr (kAccumulate) {
    tile_load<0>(sums, ld * 4);
    tile_load<1>(sums + 16, ld * 4);
    tile_load<2>(sums + 16 * ld, ld * 4);
    tile_load<3>(sums + 16 * ld + 16, ld * 4);
  } else {
    tile_zero<0>();
    tile_zero<1>();
    tile_zero<2>();
    tile_zero<3>();
  }
  const uint16_t *rows = a.values, *pairs = b.values;
  for (size_t s = 0; s < k; s += 32, rows += 32, pairs += 16 * b.ld) {
    tile_load<4>(rows, a.ld * 2);
    tile_load<6>(pairs, b.ld * 2);
    tile_multiply_bf16<0, 4, 6>();
    tile_load<7>(pairs + 32, b.ld * 2);
    tile_multiply_bf16<1, 4, 7>();
    tile_load<5>(rows + 16 * a.ld, a.ld * 2);
    tile_multiply_bf16<2, 5, 6>();
    tile_multiply_bf16<3, 5, 7>();
  }
  tile_store<0>(sums, ld * 4);
  tile_store<1>(sums + 16, ld * 4);
  tile_store<2>(sums + 16 * ld, ld * 4);
  tile_store<3>(sums + 16 * ld + 16, ld * 4);
}

struct ProductSize {
  size_t m, n, k;  // multiples of 32
};

/// sums [m, n] (+)= a [m, k] · b [k, n], k ascending.
template <bool kAccumulate>
inline void multiply(const ProductSize& size, const Rows& a, const Pairs& b, const Sums& sums) {
  for (size_t j = 0; j < size.n; j += 32)
    for (size_t i = 0; i < size.m; i += 32)
      multiply_tile<kAccumulate>({a.values + i * a.ld, a.ld}, {b.values + 2 * j, b.ld}, size.k,
                                 sums.values + i * sums.ld + j, sums.ld);
}

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
