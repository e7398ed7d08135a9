#pragma once

#include "base/simd/loops.h"
#include "base/simd/math.h"
#include "cpu/softmax/softmax.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

inline float row_maximum(size_t n, const float* x) {
  const Vec lowest = splat(-__builtin_inff());
  Vec most = lowest;
  each_chunk(n, [&](auto c) { most = larger(most, c.or_else(c.get(x), lowest)); });
  return largest(most);
}

inline void softmax_rows(size_t rows, size_t cols, const float* x, float* y) {
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const Vec shift = splat(row_maximum(cols, x));
    const float total = sum_chunks(cols, [&](auto c) {
      const Vec e = exp(sub(c.get(x), shift));
      c.put(y, e);
      return e;
    });
    each_chunk(cols, [&](auto c) { c.put(y, div(c.get(y), splat(total))); });
  }
}

}  // namespace
}  // namespace llmkit
