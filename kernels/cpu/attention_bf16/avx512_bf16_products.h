#pragma once

#include <cstring>

#include "cpu/attention_bf16/products.h"

// Products of bf16 by the dot products of vectors.

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// As in amx_products.h; vectors need nothing.
struct ProductScope {
  ProductScope() {}
};

/// Rows and vectors of sums in registers.
constexpr int kProductRows = 8, kProductVecs = 2;

template <bool kAccumulate>
inline void multiply_block(const Rows& a, const Pairs& b, size_t k, const Sums& sums) {
  __m512 acc[kProductRows][kProductVecs];
#pragma GCC unroll 8
  for (int i = 0; i < kProductRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kProductVecs; ++j)
      acc[i][j] =
          kAccumulate ? _mm512_loadu_ps(sums.values + i * sums.ld + 16 * j) : _mm512_setzero_ps();
  const uint16_t *rows = a.values, *pairs = b.values;
  for (size_t s = 0; s < k; s += 2, rows += 2, pairs += b.ld) {
    __m512bh columns[kProductVecs];
#pragma GCC unroll 2
    for (int j = 0; j < kProductVecs; ++j)
      columns[j] = (__m512bh)_mm512_loadu_si512(pairs + 32 * j);
#pragma GCC unroll 8
    for (int i = 0; i < kProductRows; ++i) {
      int two;
      std::memcpy(&two, rows + i * a.ld, sizeof two);
      const __m512bh row = (__m512bh)_mm512_set1_epi32(two);
#pragma GCC unroll 2
      for (int j = 0; j < kProductVecs; ++j)
        acc[i][j] = _mm512_dpbf16_ps(acc[i][j], columns[j], row);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kProductRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kProductVecs; ++j)
      _mm512_storeu_ps(sums.values + i * sums.ld + 16 * j, acc[i][j]);
}

/// sums [m, n] (+)= a [m, k] · b [k, n], k ascending.
template <bool kAccumulate>
inline void multiply(const ProductSize& size, const Rows& a, const Pairs& b, const Sums& sums) {
  for (size_t j = 0; j < size.n; j += kProductVecs * kLanes)
    for (size_t i = 0; i < size.m; i += kProductRows)
      multiply_block<kAccumulate>({a.values + i * a.ld, a.ld}, {b.values + 2 * j, b.ld}, size.k,
                                  {sums.values + i * sums.ld + j, sums.ld});
}

}  // namespace
}  // namespace llmkit
