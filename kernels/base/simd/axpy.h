#pragma once

#include <cstddef>

#include "base/products.h"

// Matrix products in axpy form: include base/simd/<isa>.h first.
//
// The lanes run along a row of b; every output is one chain of fused multiply-adds, k ascending,
// begun at 0 or at what y holds. The bits do not depend on the tile, nor on k being cut in pieces.

namespace llmkit {
namespace {  // a copy per instruction set

template <int kRows, int kVecs, typename Load, typename Store>
inline void axpy_run(const AxpyArgs& p, Load load_at, Store store_at) {
  Vec acc[kRows][kVecs];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j)
      acc[i][j] = p.accumulate ? load_at(p.y + i * p.ldy + j * kLanes) : zero();
  for (size_t k = 0; k < p.k; ++k) {
    Vec b[kVecs];
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) b[j] = load_at(p.b + k * p.ldb + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vec a = splat(p.a[i * p.row_step + k * p.k_step]);
#pragma GCC unroll 8
      for (int j = 0; j < kVecs; ++j) acc[i][j] = fma(a, b[j], acc[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) store_at(p.y + i * p.ldy + j * kLanes, acc[i][j]);
}

template <int kRows, int kVecs>
inline void axpy_tile(const AxpyArgs& p) {
  axpy_run<kRows, kVecs>(
      p, [](const float* q) { return load(q); }, [](float* q, Vec v) { store(q, v); });
}

/// The last columns, fewer than a vector.
template <int kRows>
inline void axpy_edge(const AxpyArgs& p, size_t count) {
  axpy_run<kRows, 1>(
      p, [count](const float* q) { return load_partial(q, count); },
      [count](float* q, Vec v) { store_partial(q, v, count); });
}

inline AxpyArgs axpy_at(AxpyArgs p, size_t m, size_t n) {
  p.a += m * p.row_step;
  p.b += n;
  p.y += m * p.ldy + n;
  return p;
}

/// kRows rows by all columns of a strip that starts at column n.
template <int kRows>
inline void axpy_rows(const AxpyArgs& p, size_t m, size_t begin, size_t end) {
  size_t n = begin;
  constexpr size_t kWidth = kAxpyVecs * kLanes;
  for (; n + kWidth <= end; n += kWidth) axpy_tile<kRows, kAxpyVecs>(axpy_at(p, m, n));
  if constexpr (kAxpyVecs > 1)
    for (; n + kLanes <= end; n += kLanes) axpy_tile<kRows, 1>(axpy_at(p, m, n));
  if (n < end) axpy_edge<kRows>(axpy_at(p, m, n), end - n);
}

inline void axpy_strip(const AxpyArgs& p, size_t begin, size_t end) {
  size_t m = 0;
  for (; m + kAxpyRows <= p.m; m += kAxpyRows) axpy_rows<kAxpyRows>(p, m, begin, end);
  for (; m + 2 <= p.m; m += 2) axpy_rows<2>(p, m, begin, end);
  if (m < p.m) axpy_rows<1>(p, m, begin, end);
}

/// The product, in strips of b (256 k by 64 n) that stay in the nearest caches.
inline void axpy_product(const AxpyArgs& p) {
  constexpr size_t kDepth = 256, kWidth = 64;
  for (size_t n = 0; n < p.n; n += kWidth) {
    const size_t end = p.n - n < kWidth ? p.n : n + kWidth;
    size_t k = 0;
    do {  // once even for k = 0, which must set y
      AxpyArgs part = p;
      part.a += k * p.k_step;
      part.b += k * p.ldb;
      part.k = p.k - k < kDepth ? p.k - k : kDepth;
      part.accumulate = p.accumulate || k > 0;
      axpy_strip(part, n, end);
      k += kDepth;
    } while (k < p.k);
  }
}

}  // namespace
}  // namespace llmkit
