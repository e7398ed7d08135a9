#pragma once

#include "base/simd/loops.h"
#include "cpu/rope/rope.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

inline void rope_head(const RopeArgs& p, size_t position, const float* x, float* y) {
  const float* const cos = p.cos + position * p.half;
  const float* const sin = p.sin + position * p.half;
  const Vec direction = splat(p.inverse ? -1.0f : 1.0f);
  each_chunk(p.half, [&](auto c) {
    const Vec a = c.get(x), b = c.get(x + p.half);
    const Vec cosine = c.get(cos), sine = mul(c.get(sin), direction);
    c.put(y, sub(mul(a, cosine), mul(b, sine)));
    c.put(y + p.half, add(mul(b, cosine), mul(a, sine)));
  });
  const size_t rotated = 2 * p.half;
  if (y != x)
    each_chunk(p.head_size - rotated, [&](auto c) { c.put(y + rotated, c.get(x + rotated)); });
}

inline void rope_position(const RopeArgs& p, size_t position, const float* x, float* y) {
  for (size_t head = 0; head < p.heads; ++head)
    rope_head(p, position, x + head * p.head_size, y + head * p.head_size);
}

}  // namespace
}  // namespace llmkit
