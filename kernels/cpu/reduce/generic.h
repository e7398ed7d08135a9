#pragma once

#include "base/simd/loops.h"
#include "cpu/reduce/reduce.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

/// The larger of both; NaN when either is.
inline Vec larger_or_nan(Vec most, Vec v) { return select(equal(v, v), larger(v, most), v); }

inline float row_sum(const ReduceArgs& p, size_t row) {
  const float* const x = p.x + row * p.middle;
  return sum_chunks(p.middle, [x](auto c) { return c.get(x); });
}

inline void sum_rows(const ReduceArgs& p, size_t begin, size_t end) {
  for (size_t r = begin; r < end; ++r) p.y[r] = row_sum(p, r);
}

inline void mean_rows(const ReduceArgs& p, size_t begin, size_t end) {
  for (size_t r = begin; r < end; ++r) p.y[r] = row_sum(p, r) / static_cast<float>(p.middle);
}

inline void max_rows(const ReduceArgs& p, size_t begin, size_t end) {
  const Vec lowest = splat(-__builtin_inff());
  for (size_t r = begin; r < end; ++r) {
    const float* const x = p.x + r * p.middle;
    Vec most = lowest;
    each_chunk(p.middle, [&](auto c) { most = larger_or_nan(most, c.or_else(c.get(x), lowest)); });
    float lanes[kLanes];
    store(lanes, most);
    float best = lanes[0];
    for (int i = 1; i < kLanes; ++i)
      if (lanes[i] > best || lanes[i] != lanes[i]) best = lanes[i];
    p.y[r] = best;
  }
}

/// Folds the middle axis of one outer row into y, which starts as `first`.
template <typename Fold>
inline void fold_middle(const ReduceArgs& p, size_t outer, size_t begin, size_t end, float first,
                        Fold fold) {
  float* const y = p.y + outer * p.inner + begin;
  each_chunk(end - begin, [&](auto c) { c.put(y, splat(first)); });
  for (size_t i = 0; i < p.middle; ++i) {
    const float* const x = p.x + (outer * p.middle + i) * p.inner + begin;
    each_chunk(end - begin, [&](auto c) { c.put(y, fold(c.get(y), c.get(x))); });
  }
}

inline void sum_middle(const ReduceArgs& p, size_t outer, size_t begin, size_t end) {
  fold_middle(p, outer, begin, end, 0, [](Vec total, Vec v) { return add(total, v); });
}

inline void mean_middle(const ReduceArgs& p, size_t outer, size_t begin, size_t end) {
  sum_middle(p, outer, begin, end);
  float* const y = p.y + outer * p.inner + begin;
  const Vec count = splat(static_cast<float>(p.middle));
  each_chunk(end - begin, [&](auto c) { c.put(y, div(c.get(y), count)); });
}

inline void max_middle(const ReduceArgs& p, size_t outer, size_t begin, size_t end) {
  fold_middle(p, outer, begin, end, -__builtin_inff(),
              [](Vec most, Vec v) { return larger_or_nan(most, v); });
}

inline void argmax_rows(size_t rows, size_t cols, const float* x, int32_t* y) {
  const Vec lowest = splat(-__builtin_inff());
  for (size_t r = 0; r < rows; ++r, x += cols) {
    Vec most = lowest;
    each_chunk(cols, [&](auto c) { most = larger(c.or_else(c.get(x), lowest), most); });
    const float best = largest(most);
    size_t i = 0;
    if (x[0] == x[0])
      while (i + 1 < cols && x[i] != best) ++i;
    y[r] = static_cast<int32_t>(i);
  }
}

}  // namespace
}  // namespace llmkit
