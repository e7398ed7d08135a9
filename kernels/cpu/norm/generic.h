#pragma once

#include "base/simd/loops.h"
#include "cpu/norm/norm.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

inline NormStatistics row_statistics(const NormArgs& p, const float* x) {
  const float count = static_cast<float>(p.cols);
  const float mean =
      p.centered ? sum_chunks(p.cols, [x](auto c) { return c.get(x); }) / count : 0.0f;
  const Vec center = splat(mean);
  const float squares = sum_chunks(p.cols, [x, center](auto c) {
    const Vec d = sub(c.get(x), center);
    return mul(d, d);
  });
  return {mean, 1.0f / __builtin_sqrtf(squares / count + p.eps)};
}

/// The normalised x of a row.
struct Normalised {
  const float* x;
  Vec mean, scale;
  Normalised(const float* row, const NormStatistics& s)
      : x(row), mean(splat(s.mean)), scale(splat(s.scale)) {}
  template <typename Chunk>
  Vec get(Chunk c) const {
    return mul(sub(c.get(x), mean), scale);
  }
};

inline void forward(const NormArgs& p, const float* row, const float* bias, float* y) {
  const Normalised x(row, row_statistics(p, row));
  each_chunk(p.cols, [&](auto c) {
    const Vec scaled = mul(x.get(c), c.get(p.weight));
    c.put(y, bias == nullptr ? scaled : add(scaled, c.get(bias)));
  });
}

inline void grad_weight(const NormArgs& p, const float* all, const NormStatistics* s,
                        const float* dy, size_t begin, size_t end, float* dweight, float* dbias) {
  const auto clear = [&](float* sums) {
    if (sums != nullptr) each_chunk(end - begin, [&](auto c) { c.put(sums + begin, zero()); });
  };
  clear(dweight);
  clear(dbias);
  // Row by row, as they lie in memory; the sums stay in the nearest cache.
  for (size_t r = 0; r < p.rows; ++r) {
    const Normalised x(all + r * p.cols + begin, s[r]);
    const float* const dys = dy + r * p.cols + begin;
    if (dweight != nullptr)
      each_chunk(end - begin, [&](auto c) {
        c.put(dweight + begin, fma(c.get(dys), x.get(c), c.get(dweight + begin)));
      });
    if (dbias != nullptr)
      each_chunk(end - begin,
                 [&](auto c) { c.put(dbias + begin, add(c.get(dbias + begin), c.get(dys))); });
  }
}

/// dx = scale · (g - mean(g) - x̂ · mean(g · x̂)), g = dy · weight; mean(g) only when centered.
inline void grad_input(const NormArgs& p, const float* row, const NormStatistics& s,
                       const float* dy, float* dx) {
  const float count = static_cast<float>(p.cols);
  const Normalised x(row, s);
  const auto gradient = [&](auto c) { return mul(c.get(dy), c.get(p.weight)); };
  const float mean = p.centered ? sum_chunks(p.cols, gradient) / count : 0.0f;
  const float along =
      sum_chunks(p.cols, [&](auto c) { return mul(gradient(c), x.get(c)); }) / count;
  each_chunk(p.cols, [&](auto c) {
    const Vec rest = sub(sub(gradient(c), splat(mean)), mul(x.get(c), splat(along)));
    c.put(dx, mul(rest, x.scale));
  });
}

}  // namespace
}  // namespace llmkit
