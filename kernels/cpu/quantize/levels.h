#pragma once

#include "base/packed_weight.h"
#include "cpu/quantize/rounding.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

constexpr uint32_t kInfinity = 0x7f800000;

/// Calls body(load(x), index) for whole vectors, then once for what is left, with zeros after it.
template <typename Body>
inline void each_vector(const float* x, size_t n, const Body& body) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(load(x + i), i);
  if (i < n) body(load_partial(x + i, n - i), i);
}

/// The grid of one group: value = (code - zero) * scale.
struct Grid {
  float scale;
  float zero;  // on the signed range
};

inline float stored_scale(float scale, ScaleType type) {
  constexpr float kSmallest = 0x1p-23f;  // so that nothing is divided by 0
  const float stored = as_stored(scale, type);
  return stored == 0 ? kSmallest : stored;
}

/// Sixteen values in ascending order: their codes, and what lies halfway to the next one.
struct Codebook {
  Vec values, codes, midpoints;
  uint8_t zero_code;
};

inline Codebook codebook_of(WeightFormat format) {
  const float* const values = format == WeightFormat::kNf4 ? kNf4Values : kFp4Values;
  float sorted[16], codes[16], midpoints[16];
  for (int code = 0; code < 16; ++code) {
    int rank = 0;  // of two zeros, the lower code comes first
    for (int other = 0; other < 16; ++other)
      rank += values[other] < values[code] || (values[other] == values[code] && other < code);
    sorted[rank] = values[code];
    codes[rank] = static_cast<float>(code);
  }
  for (int i = 0; i < 15; ++i) midpoints[i] = (sorted[i] + sorted[i + 1]) / 2;
  midpoints[15] = float_of(kInfinity);
  return {load(sorted), load(codes), load(midpoints),
          static_cast<uint8_t>(format == WeightFormat::kNf4 ? 7 : 0)};
}

/// Number of midpoints below t, by halving.
inline Index rank_of(Vec t, Vec midpoints) {
  Index rank = splat_int(0);
  for (uint32_t step = 8; step > 0; step /= 2) {
    const Index above = add(rank, splat_int(step));
    const Mask passed = less(lookup(midpoints, sub(above, splat_int(1))), t);
    rank = as_int(select(passed, as_float(above), as_float(rank)));
  }
  return rank;
}

/// The sixteen values in cells of a sixteenth, from -1 to 1: a cell holds at most one midpoint, and
/// none lies where two cells meet.
struct Cells {
  /// Of cells 0 .. 15, then of -16 .. -1: the value at the lower end, and the midpoint above which
  /// it is the next cell's.
  Vec values[2], midpoints[2];
};

inline Cells cells_of(const Codebook& book) {
  float sorted[16], values[32], midpoints[32];
  store(sorted, book.values);
  for (int cell = -16; cell < 16; ++cell) {
    const float from = static_cast<float>(cell) / 16, to = from + 0.0625f;
    float& midpoint = midpoints[cell & 31] = float_of(kInfinity);
    float& value = values[cell & 31] = sorted[0];
    for (int i = 0; i < 15; ++i) {
      const float middle = (sorted[i] + sorted[i + 1]) / 2;
      if (middle <= from) value = sorted[i + 1];
      // Between the two zeros of fp4 nothing changes.
      if (middle > from && middle < to && sorted[i] != sorted[i + 1]) midpoint = middle;
    }
  }
  return {{load(values), load(values + 16)}, {load(midpoints), load(midpoints + 16)}};
}

/// The value nearest to t, of two equally near the lower one.
inline Vec nearest_value(Vec t, const Cells& cells) {
  // No midpoint lies beyond.
  const Vec within = smaller(larger(t, splat(-0.99f)), splat(0.99f));
  // The low bits hold 16 t - 1/2 rounded: where cells meet, either will do.
  const Index cell = as_int(add(fma(within, splat(16), splat(-0.5f)), splat(12582912.0f)));
  const Mask above = less(lookup(cells.midpoints[0], cells.midpoints[1], cell), within);
  const Index next = as_int(select(above, as_float(splat_int(1)), zero()));
  return lookup(cells.values[0], cells.values[1], add(cell, next));
}

}  // namespace
}  // namespace llmkit
