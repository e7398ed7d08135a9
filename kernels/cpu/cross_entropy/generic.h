#pragma once

#include "base/simd/loops.h"
#include "base/simd/math.h"
#include "cpu/cross_entropy/cross_entropy.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

inline void chunk_sums(const LogitChunk& p, float* most, float* sums_of_rows) {
  const Vec lowest = splat(-__builtin_inff());
  for (size_t r = 0; r < p.rows; ++r) {
    const float* const x = p.logits + r * p.ld;
    Vec top = lowest;
    each_chunk(p.n, [&](auto c) { top = larger(top, c.or_else(c.get(x), lowest)); });
    most[r] = largest(top);
    const Vec shift = splat(most[r]);
    sums_of_rows[r] = sum_chunks(p.n, [&](auto c) { return exp(sub(c.get(x), shift)); });
  }
}

inline void combine(size_t chunks, size_t stride, size_t rows, const float* most,
                    const float* sums_of_rows, float* log_sum_exp) {
  each_chunk(rows, [&](auto c) {
    Vec top = splat(-__builtin_inff());
    for (size_t i = 0; i < chunks; ++i) top = larger(top, c.get(most + i * stride));
    Vec total = zero();
    for (size_t i = 0; i < chunks; ++i)
      total = fma(c.get(sums_of_rows + i * stride), exp(sub(c.get(most + i * stride), top)), total);
    c.put(log_sum_exp, add(top, log(total)));
  });
}

inline void chunk_gradient(const LogitChunk& p, const float* log_sum_exp, const float* dlosses,
                           const int64_t* targets) {
  for (size_t r = 0; r < p.rows; ++r) {
    float* const x = p.logits + r * p.ld;
    const Vec shift = splat(log_sum_exp[r]), scale = splat(dlosses[r]);
    each_chunk(p.n, [&](auto c) { c.put(x, mul(exp(sub(c.get(x), shift)), scale)); });
    if (targets[r] >= 0 && targets[r] < static_cast<int64_t>(p.n)) x[targets[r]] -= dlosses[r];
  }
}

}  // namespace
}  // namespace llmkit
