#pragma once

#include "base/simd/loops.h"
#include "cpu/dropout/dropout.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

inline Index mix(Index h) {
  h = mul(bit_xor(h, shift_right<16>(h)), splat_int(0x7feb352d));
  h = mul(bit_xor(h, shift_right<15>(h)), splat_int(0x846ca68b));
  return bit_xor(h, shift_right<16>(h));
}

inline Index mixed_sum(Index h, uint32_t value) { return mix(add(h, splat_int(value))); }

inline void dropout_row(const DropoutArgs& p, size_t row, const float* x, float* y) {
  // Both are below 2^24, so that the comparison is exact in float.
  const Vec threshold = splat(static_cast<float>(static_cast<uint32_t>(p.rate * 0x1p24 + 0.5)));
  const Vec scale = splat(static_cast<float>(1 / (1 - p.rate)));
  const Index stream = mixed_sum(mix(splat_int(p.seed)), p.stream);
  const Index example = mixed_sum(stream, static_cast<uint32_t>(p.keys[2 * row]));
  const Index start = mixed_sum(example, static_cast<uint32_t>(p.keys[2 * row + 1]));
  each_chunk(p.cols, [&](auto c) {
    const Index column = add(lane_numbers(), splat_int(static_cast<uint32_t>(c.i)));
    const Index hash = mix(add(start, mul(column, splat_int(0x9e3779b9))));
    const Mask drop = less(to_float(shift_right<8>(hash)), threshold);
    c.put(y, select(drop, zero(), mul(c.get(x), scale)));
  });
}

}  // namespace
}  // namespace llmkit
