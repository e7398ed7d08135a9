#pragma once

#include <cstddef>

#include "base/products.h"

// Matrix products in dot form: include base/simd/<isa>.h first.
//
// Every output has one accumulator vector over k, ascending in steps of 16 with zeros after the
// end, summed once by the tree of README.md. The bits do not depend on the tile an output is in.

namespace llmkit {
namespace {  // a copy per instruction set

/// One step of k for a tile of accumulators.
template <int kRows, int kCols, typename Load>
inline void dot_step(Vec (&acc)[kRows][kCols], const DotArgs& a, size_t k, Load load_at) {
  Vec x[kRows];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) x[i] = load_at(a.x + i * a.ldx + k);
#pragma GCC unroll 8
  for (int j = 0; j < kCols; ++j) {
    const Vec w = load_at(a.w + j * a.ldw + k);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) acc[i][j] = fma(x[i], w, acc[i][j]);
  }
}

/// Sums a tile's accumulators into y.
template <int kRows, int kCols>
inline void dot_finish(const Vec (&acc)[kRows][kCols], const DotArgs& a) {
  static_assert(kRows * kCols <= kLanes, "a tile is summed at once");
  Vec flat[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) flat[i] = i < kRows * kCols ? acc[i / kCols][i % kCols] : zero();
  float total[kLanes];
  store(total, sums(flat));
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kCols; ++j)
      a.y[i * a.ldy + j] = total[i * kCols + j] + (a.bias == nullptr ? 0.0f : a.bias[j]);
}

/// The tile of y at (0, 0).
template <int kRows, int kCols>
inline void dot_tile(const DotArgs& a) {
  Vec acc[kRows][kCols];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kCols; ++j) acc[i][j] = zero();
  const size_t whole = a.k / kLanes * kLanes;
  for (size_t k = 0; k < whole; k += kLanes)
    dot_step(acc, a, k, [](const float* p) { return load(p); });
  if (const size_t rest = a.k - whole; rest > 0)
    dot_step(acc, a, whole, [rest](const float* p) { return load_partial(p, rest); });
  dot_finish(acc, a);
}

inline DotArgs dot_at(DotArgs a, size_t m, size_t n) {
  a.x += m * a.ldx;
  a.w += n * a.ldw;
  a.y += m * a.ldy + n;
  if (a.bias != nullptr) a.bias += n;
  return a;
}

/// kRows rows of y.
template <int kRows>
inline void dot_rows(const DotArgs& a, size_t m) {
  size_t n = 0;
  for (; n + kDotCols <= a.n; n += kDotCols) dot_tile<kRows, kDotCols>(dot_at(a, m, n));
  for (; n < a.n; ++n) dot_tile<kRows, 1>(dot_at(a, m, n));
}

/// y[m, n] = sum over k of x[m, k] w[n, k] + bias[n]
inline void dot_product(const DotArgs& a) {
  size_t m = 0;
  for (; m + kDotRows <= a.m; m += kDotRows) dot_rows<kDotRows>(a, m);
  for (; m < a.m; ++m) dot_rows<1>(a, m);
}

}  // namespace
}  // namespace llmkit
