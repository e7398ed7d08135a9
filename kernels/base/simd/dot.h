#pragma once

#include <cstddef>

#include "base/products.h"

// Matrix products in dot form: include base/simd/<isa>.h first.
//
// Every output has one accumulator vector over k, ascending in steps of 16 with zeros after the
// end, summed once by the tree of README.md. The bits do not depend on the tile an output is in.

namespace llmkit {
namespace {  // a copy per instruction set

// What of a vector the loop over k takes at a time: with AVX2 one of its registers, since 16
// registers hold the sums of 4 rows by 3 columns then, of which each is loaded for more products
// than of 2 by 3.
#if defined(__AVX2__) && !defined(__AVX512F__)
using DotPart = __m256;
inline DotPart load_part(const float* p) { return _mm256_loadu_ps(p); }
inline DotPart fma(DotPart a, DotPart b, DotPart c) { return _mm256_fmadd_ps(a, b, c); }
inline DotPart& part_of(Vec& a, int part) { return part == 0 ? a.lo : a.hi; }
#else
using DotPart = Vec;
inline DotPart load_part(const float* p) { return load(p); }
inline DotPart& part_of(Vec& a, int) { return a; }
#endif
constexpr int kDotParts = sizeof(Vec) / sizeof(DotPart), kPartLanes = kLanes / kDotParts;

/// One step of k for a tile of accumulators.
template <int kRows, int kCols, typename Sum, typename Load>
inline void dot_step(Sum (&acc)[kRows][kCols], const DotArgs& a, size_t k, Load load_at) {
  Sum x[kRows];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) x[i] = load_at(a.x + i * a.ldx + k);
#pragma GCC unroll 8
  for (int j = 0; j < kCols; ++j) {
    const Sum w = load_at(a.w + j * a.ldw + k);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) acc[i][j] = fma(x[i], w, acc[i][j]);
  }
}

/// Sums a tile's accumulators into y.
template <int kRows, int kCols>
inline void dot_finish(const Vec (&acc)[kRows][kCols], const DotArgs& a) {
  constexpr int kCount = kRows * kCols;
#pragma GCC unroll 4
  for (int begin = 0; begin < kCount; begin += kLanes) {
    Vec flat[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      flat[i] = begin + i < kCount ? acc[(begin + i) / kCols][(begin + i) % kCols] : zero();
    float total[kLanes];
    store(total, sums(flat));
    for (int i = begin; i < kCount && i < begin + kLanes; ++i)
      a.y[i / kCols * a.ldy + i % kCols] =
          total[i - begin] + (a.bias == nullptr ? 0.0f : a.bias[i % kCols]);
  }
}

/// Part [begin, end) of k for the tile of y at (0, 0). The accumulators of the parts before and
/// for the parts after are in `kept`; the last part goes into y.
template <int kRows, int kCols>
inline void dot_tile(const DotArgs& a, size_t begin, size_t end, Vec* kept) {
  Vec acc[kRows][kCols];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kCols; ++j) acc[i][j] = begin == 0 ? zero() : kept[i * kCols + j];
  const size_t whole = begin + (end - begin) / kLanes * kLanes;
#pragma GCC unroll 2
  for (int part = 0; part < kDotParts; ++part) {
    DotPart sums[kRows][kCols];
#pragma GCC unroll 32
    for (int i = 0; i < kRows * kCols; ++i)
      sums[i / kCols][i % kCols] = part_of(acc[i / kCols][i % kCols], part);
    for (size_t k = begin + part * kPartLanes; k < whole; k += kLanes)
      dot_step(sums, a, k, load_part);
#pragma GCC unroll 32
    for (int i = 0; i < kRows * kCols; ++i)
      part_of(acc[i / kCols][i % kCols], part) = sums[i / kCols][i % kCols];
  }
  if (const size_t rest = end - whole; rest > 0)
    dot_step(acc, a, whole, [rest](const float* p) { return load_partial(p, rest); });
  if (end == a.k) return dot_finish(acc, a);
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kCols; ++j) kept[i * kCols + j] = acc[i][j];
}

inline DotArgs dot_at(DotArgs a, size_t m, size_t n) {
  a.x += m * a.ldx;
  a.w += n * a.ldw;
  a.y += m * a.ldy + n;
  if (a.bias != nullptr) a.bias += n;
  return a;
}

/// Columns done together, and the part of k that is done at a time for all of them: what they read
/// of x, 18 KB with AVX-512, stays in the nearest cache while columns pass by.
constexpr size_t kDotGroup = 12 * kDotCols, kDotDepth = 768;

/// kRows rows by at most kDotGroup columns of y.
template <int kRows>
inline void dot_group(const DotArgs& a) {
  Vec kept[kRows * kDotGroup];
  size_t k = 0;
  do {  // once even for k = 0, which must set y
    const size_t end = a.k - k < kDotDepth ? a.k : k + kDotDepth;
    size_t n = 0;
    for (; n + kDotCols <= a.n; n += kDotCols)
      dot_tile<kRows, kDotCols>(dot_at(a, 0, n), k, end, kept + n * kRows);
    for (; n < a.n; ++n) dot_tile<kRows, 1>(dot_at(a, 0, n), k, end, kept + n * kRows);
    k = end;
  } while (k < a.k);
}

/// kRows rows of y, m rows down; fewer when there are fewer.
template <int kRows>
inline void dot_rows(const DotArgs& a, size_t m) {
  if constexpr (kRows > 1)
    if (a.m - m < kRows) return dot_rows<kRows - 1>(a, m);
  for (size_t n = 0; n < a.n; n += kDotGroup) {
    DotArgs group = dot_at(a, m, n);
    group.n = a.n - n < kDotGroup ? a.n - n : kDotGroup;
    dot_group<kRows>(group);
  }
}

/// y[m, n] = sum over k of x[m, k] w[n, k] + bias[n]
inline void dot_product(const DotArgs& a) {
  for (size_t m = 0; m < a.m; m += kDotRows) dot_rows<kDotRows>(a, m);
}

}  // namespace
}  // namespace llmkit
