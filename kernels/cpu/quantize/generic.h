#pragma once

#include <cstring>

#include "base/weight_view.h"
#include "cpu/quantize/kernels.h"
#include "cpu/quantize/rounding.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

constexpr uint32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000;

/// Calls body(load(x), index) for whole vectors, then once for what is left, with zeros after it.
template <typename Body>
inline void each_vector(const float* x, size_t n, const Body& body) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(load(x + i), i);
  if (i < n) body(load_partial(x + i, n - i), i);
}

/// The largest lane of numbers >= 0, whose bits have their order.
inline float largest_lane(Vec v) { return float_of(largest_lane(as_int(v))); }

/// Adds up what quantization changes.
struct Change {
  Vec squares = zero(), errors = zero();
  void add(Vec value, Vec restored) {
    const Vec error = sub(value, restored);
    squares = fma(value, value, squares);
    errors = fma(error, error, errors);
  }
  SquareSums sums() const { return {sum(squares), sum(errors)}; }
};

/// Largest magnitude; NaN or infinite when a value is.
inline float magnitude_of(const float* x, size_t n) {
  Index most = splat_int(0);
  // As integers NaN is above infinity, which is above all numbers.
  each_vector(x, n, [&](Vec v, size_t) {
    most = larger(most, bit_and(as_int(v), splat_int(kMagnitude)));
  });
  return float_of(largest_lane(most));
}

inline bool is_finite(float magnitude) { return bits_of(magnitude) < kInfinity; }

/// The grid of one group: value = (code - zero) * scale.
struct Grid {
  float scale;
  float zero;  // on the signed range
};

/// Rounds to the nearest integer, ties to even; |x| < 2^22.
inline float nearest_integer(float x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23
  return x + kRounder - kRounder;
}

inline float stored_scale(float scale, ScaleType type) {
  constexpr float kSmallest = 0x1p-23f;  // so that nothing is divided by 0
  const float stored = as_stored(scale, type);
  return stored == 0 ? kSmallest : stored;
}

inline Grid asymmetric_grid(const float* x, size_t n, float half, ScaleType type) {
  Vec low = zero(), high = zero();
  each_vector(x, n, [&](Vec v, size_t) {
    low = larger(low, sub(zero(), v));
    high = larger(high, v);
  });
  const float lowest = 0.0f - largest_lane(low);
  const float scale =
      stored_scale((largest_lane(high) - lowest) / (2 * half - 1), type);
  float point = -half - lowest / scale;
  point = point < -half ? -half : point > half - 1 ? half - 1 : point;
  return {scale, nearest_integer(point)};
}

/// Codes round(x / scale + zero) within -half .. half - 1, shifted up by half.
inline void integer_codes(const float* x, size_t n, Grid grid, float half, uint8_t* codes,
                          Change& change) {
  const Vec scale = splat(grid.scale), point = splat(grid.zero);
  const Vec low = splat(-half), high = splat(half - 1);
  const Index shift = splat_int(static_cast<uint32_t>(half));
  each_vector(x, n, [&](Vec v, size_t i) {
    const Vec steps = smaller(larger(add(div(v, scale), point), low), high);
    const Index rounded = to_int(steps), code = add(rounded, shift);
    change.add(v, mul(sub(to_float(rounded), point), scale));
    if (i + kLanes <= n) return store_bytes(codes + i, code);
    uint8_t last[kLanes];
    store_bytes(last, code);
    std::memcpy(codes + i, last, n - i);
  });
}

inline bool integer_groups(const QuantizeSpec& spec, const QuantizeRun& run, Change& change) {
  const float half = spec.format == WeightFormat::kInt8 ? 128 : 8;
  const size_t size = spec.group_size;
  for (size_t group = 0, at = 0; at < run.count; ++group, at += size) {
    const float* const x = run.values + at;
    const float magnitude = magnitude_of(x, size);
    if (!is_finite(magnitude)) return false;
    Grid grid = {0, 0};
    if (spec.zero_points) {
      grid = asymmetric_grid(x, size, half, spec.scale_type);
      run.parts.zeros[group] = static_cast<uint8_t>(grid.zero + half);
    } else {
      grid.scale = stored_scale(magnitude / ((2 * half - 1) / 2), spec.scale_type);
    }
    run.parts.scales[group] = grid.scale;
    integer_codes(x, size, grid, half, run.parts.codes + at, change);
  }
  return true;
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

inline void codebook_codes(const float* x, size_t n, float magnitude, const Codebook& book,
                           uint8_t* codes, Change& change) {
  const Vec factor = splat(1 / magnitude), scale = splat(magnitude);
  each_vector(x, n, [&](Vec v, size_t i) {
    const Index rank = rank_of(mul(v, factor), book.midpoints);
    const Index code = to_int(lookup(book.codes, rank));
    change.add(v, mul(lookup(book.values, rank), scale));
    if (i + kLanes <= n) return store_bytes(codes + i, code);
    uint8_t last[kLanes];
    store_bytes(last, code);
    std::memcpy(codes + i, last, n - i);
  });
}

inline bool codebook_blocks(const QuantizeSpec& spec, const QuantizeRun& run, Change& change) {
  const Codebook book = codebook_of(spec.format);
  for (size_t block = 0, at = 0; at < run.count; ++block, at += spec.group_size) {
    const size_t rest = run.count - at, size = rest < spec.group_size ? rest : spec.group_size;
    const float magnitude = magnitude_of(run.values + at, size);
    if (!is_finite(magnitude)) return false;
    run.parts.scales[block] = magnitude;
    // A block of zeros, or of numbers too small to have a reciprocal in float32.
    if (!is_finite(1 / magnitude))
      std::memset(run.parts.codes + at, book.zero_code, size);
    else
      codebook_codes(run.values + at, size, magnitude, book, run.parts.codes + at, change);
  }
  return true;
}

inline bool groups(const QuantizeSpec& spec, const QuantizeRun& run, SquareSums& sums) {
  Change change;
  const bool integers = spec.format == WeightFormat::kInt8 || spec.format == WeightFormat::kInt4;
  const bool finite =
      integers ? integer_groups(spec, run, change) : codebook_blocks(spec, run, change);
  sums = change.sums();
  return finite;
}

inline void pack_nibbles(const uint8_t* codes, size_t pairs, bool high_first, uint8_t* out) {
  if (high_first)
    for (size_t i = 0; i < pairs; ++i)
      out[i] = static_cast<uint8_t>(codes[2 * i] << 4 | codes[2 * i + 1]);
  else
    for (size_t i = 0; i < pairs; ++i)
      out[i] = static_cast<uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
}

inline SquareSums square_sums(const float* values, const float* restored, size_t count) {
  Change change;
  each_vector(values, count, [&](Vec v, size_t i) {
    const float* const back = restored + i;
    change.add(v, i + kLanes <= count ? load(back) : load_partial(back, count - i));
  });
  return change.sums();
}

}  // namespace
}  // namespace llmkit
