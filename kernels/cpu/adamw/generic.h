#pragma once

#include "base/simd/loops.h"
#include "cpu/adamw/adamw.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

inline void adamw_run(size_t begin, size_t end, const AdamwState& s, const AdamwFactors& f) {
  each_chunk(end - begin, [&](auto c) {
    const Vec g = mul(c.get(s.gradient + begin), splat(f.gradient_scale));
    const Vec old_m = c.get(s.m + begin);
    const Vec m = fma(sub(g, old_m), splat(f.blend_m), old_m);
    const Vec v = fma(mul(g, g), splat(f.blend_v), mul(c.get(s.v + begin), splat(f.beta2)));
    const Vec denominator = fma(square_root(v), splat(f.inverse_root), splat(f.eps));
    const Vec decayed = mul(c.get(s.parameter + begin), splat(f.keep));
    c.put(s.m + begin, m);
    c.put(s.v + begin, v);
    c.put(s.parameter + begin, sub(decayed, div(mul(m, splat(f.step_size)), denominator)));
  });
}

}  // namespace
}  // namespace llmkit
