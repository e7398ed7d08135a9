#pragma once

#include "base/simd/amx.h"
#include "cpu/attention_bf16/products.h"

// Products of bf16 in tile registers.

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// While it lives, a thread may call multiply().
using ProductScope = TileScope;

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

/// sums [m, n] (+)= a [m, k] · b [k, n], k ascending.
template <bool kAccumulate>
inline void multiply(const ProductSize& size, const Rows& a, const Pairs& b, const Sums& sums) {
  for (size_t j = 0; j < size.n; j += 32)
    for (size_t i = 0; i < size.m; i += 32)
      multiply_tile<kAccumulate>({a.values + i * a.ld, a.ld}, {b.values + 2 * j, b.ld}, size.k,
                                 sums.values + i * sums.ld + j, sums.ld);
}

}  // namespace
}  // namespace llmkit
