#pragma once

#include "base/simd/loops.h"
#include "base/simd/math.h"
#include "cpu/cross_entropy/cross_entropy.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

template <bool kExponentials>
inline void sums_of_rows(const LogitChunk& p, const ChunkSums& to) {
  const Vec lowest = splat(-__builtin_inff());
  for (size_t r = 0; r < p.rows; ++r) {
    const float* const x = p.logits + r * p.ld;
    Vec top = lowest;
    each_chunk(p.n, [&](auto c) { top = larger(top, c.or_else(c.get(x), lowest)); });
    to.largest[r] = largest(top);
    const Vec shift = splat(to.largest[r]);
    to.sums[r] = sum_chunks(p.n, [&](auto c) {
      const Vec exponential = exp(sub(c.get(x), shift));
      if constexpr (kExponentials) c.put(to.exponentials + r * to.ld, exponential);
      return exponential;
    });
  }
}

inline void chunk_sums(const LogitChunk& p, const ChunkSums& to) {
  if (to.exponentials == nullptr)
    sums_of_rows<false>(p, to);
  else
    sums_of_rows<true>(p, to);
}

inline void combine(size_t chunks, size_t stride, size_t rows, const float* most, const float* sums,
                    float* log_sum_exp) {
  each_chunk(rows, [&](auto c) {
    Vec top = splat(-__builtin_inff());
    for (size_t i = 0; i < chunks; ++i) top = larger(top, c.get(most + i * stride));
    Vec total = zero();
    for (size_t i = 0; i < chunks; ++i)
      total = fma(c.get(sums + i * stride), exp(sub(c.get(most + i * stride), top)), total);
    c.put(log_sum_exp, add(top, log(total)));
  });
}

inline void chunk_gradient(const LogitChunk& p, const LossRows& rows) {
  for (size_t r = 0; r < p.rows; ++r) {
    float* const x = p.logits + r * p.ld;
    const Vec shift = splat(rows.log_sum_exp[r]), scale = splat(rows.dlosses[r]);
    each_chunk(p.n, [&](auto c) { c.put(x, mul(exp(sub(c.get(x), shift)), scale)); });
    const int64_t target = rows.targets[r];
    if (target >= 0 && target < static_cast<int64_t>(p.n)) x[target] -= rows.dlosses[r];
  }
}

inline void rounded_gradient(const ChunkGradient& p, const LossRows& rows) {
  for (size_t r = 0; r < p.rows; ++r) {
    const uint16_t* x = p.exponentials + r * p.ld;
    uint16_t* const out = p.dlogits + r * p.ld_out;
    const Vec total = splat(rows.log_sum_exp[r]), dloss = splat(rows.dlosses[r]);
    const float* largest = p.largest + r;
    for (size_t i = 0; i < p.n; i += kLossChunk, largest += p.stride) {
      const Vec scale = mul(exp(sub(splat(*largest), total)), dloss);
      each_chunk(p.n - i < kLossChunk ? p.n - i : kLossChunk,
                 [&](auto c) { c.put(out + i, mul(c.get(x + i), scale)); });
    }
    const int64_t target = rows.targets[r];
    if (target < 0 || target >= static_cast<int64_t>(p.n)) continue;
    const Vec rest = sub(exp(sub(zero(), splat(rows.losses[r]))), splat(1));
    Part{static_cast<size_t>(target), 1}.put(out, mul(rest, dloss));
  }
}

inline void add_rows(size_t m, size_t n, const uint16_t* values, size_t ld, bool accumulate,
                     float* sums) {
  each_chunk(n, [&](auto c) {
    Vec sum = accumulate ? c.get(sums) : zero();
    for (size_t r = 0; r < m; ++r) sum = add(sum, c.get(values + r * ld));
    c.put(sums, sum);
  });
}

}  // namespace
}  // namespace llmkit
