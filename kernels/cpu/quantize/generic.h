#pragma once

#include <cstring>

#include "base/weight_view.h"
#include "cpu/quantize/kernels.h"
#include "cpu/quantize/rounding.h"
#include "cpu/quantize/search.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

constexpr uint32_t kMagnitude = 0x7fffffff;

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
  each_vector(
      x, n, [&](Vec v, size_t) { most = larger(most, bit_and(as_int(v), splat_int(kMagnitude))); });
  return float_of(largest_lane(most));
}

inline bool is_finite(float magnitude) { return bits_of(magnitude) < kInfinity; }

/// Rounds to the nearest integer, ties to even; |x| < 2^22.
inline float nearest_integer(float x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23
  return x + kRounder - kRounder;
}

inline float half_of(const QuantizeSpec& spec) {
  return spec.format == WeightFormat::kInt8 ? 128 : 8;
}

inline Grid asymmetric_grid(const float* x, size_t n, float half, ScaleType type) {
  Vec low = zero(), high = zero();
  each_vector(x, n, [&](Vec v, size_t) {
    low = larger(low, sub(zero(), v));
    high = larger(high, v);
  });
  const float lowest = 0.0f - largest_lane(low);
  const float scale = stored_scale((largest_lane(high) - lowest) / (2 * half - 1), type);
  float point = -half - lowest / scale;
  point = point < -half ? -half : point > half - 1 ? half - 1 : point;
  return {scale, nearest_integer(point)};
}

/// Codes round(x / scale + zero) within -half .. half - 1, shifted up by half. Without kPoints zero
/// is 0.
template <bool kPoints>
inline void integer_codes(const float* x, size_t n, Grid grid, float half, uint8_t* codes,
                          Change& change) {
  const Vec scale = splat(grid.scale), point = splat(grid.zero);
  const Vec low = splat(-half), high = splat(half - 1);
  const Index shift = splat_int(static_cast<uint32_t>(half));
  each_vector(x, n, [&](Vec v, size_t i) {
    const Vec quotient = div(v, scale), steps = kPoints ? add(quotient, point) : quotient;
    const Index rounded = to_int(smaller(larger(steps, low), high)), code = add(rounded, shift);
    const Vec level = kPoints ? sub(to_float(rounded), point) : to_float(rounded);
    change.add(v, mul(level, scale));
    if (i + kLanes <= n) return store_bytes(codes + i, code);
    uint8_t last[kLanes];
    store_bytes(last, code);
    std::memcpy(codes + i, last, n - i);
  });
}

inline Grid searched_integers(const float* x, size_t n, float magnitude, Grid nearest,
                              const QuantizeSpec& spec) {
  const float half = half_of(spec);
  if (spec.zero_points)
    return searched_grid(x, n, magnitude, nearest, IntegerLevels<true>{half, spec.scale_type});
  return searched_grid(x, n, magnitude, nearest, IntegerLevels<false>{half, spec.scale_type});
}

/// Scales for the magnitudes of groups, in their place.
template <ScaleType kType>
inline void symmetric_scales(float* magnitudes, size_t count, float half) {
  const float steps = (2 * half - 1) / 2;
  for (size_t i = 0; i < count; ++i) magnitudes[i] = stored_scale(magnitudes[i] / steps, kType);
}

inline void symmetric_scales(float* magnitudes, size_t count, float half, ScaleType type) {
  if (type == ScaleType::kBf16)
    symmetric_scales<ScaleType::kBf16>(magnitudes, count, half);
  else if (type == ScaleType::kF16)
    symmetric_scales<ScaleType::kF16>(magnitudes, count, half);
  else
    symmetric_scales<ScaleType::kF32>(magnitudes, count, half);
}

/// Symmetric, to the nearest. A step of all groups and then the next one: what a group's step has
/// to wait for is there, where the steps of one group are a long chain.
inline bool symmetric_groups(const QuantizeSpec& spec, const QuantizeRun& run, Change& change) {
  const float half = half_of(spec);
  const size_t size = spec.group_size, groups = run.count / size;
  float* const scales = run.parts.scales;
  for (size_t group = 0; group < groups; ++group) {
    scales[group] = magnitude_of(run.values + group * size, size);
    if (!is_finite(scales[group])) return false;
  }
  symmetric_scales(scales, groups, half, spec.scale_type);
  for (size_t group = 0, at = 0; group < groups; ++group, at += size)
    integer_codes<false>(run.values + at, size, {scales[group], 0}, half, run.parts.codes + at,
                         change);
  return true;
}

inline bool integer_groups(const QuantizeSpec& spec, const QuantizeRun& run, Change& change) {
  if (!spec.zero_points && spec.method == QuantizeMethod::kNearest)
    return symmetric_groups(spec, run, change);
  const float half = half_of(spec);
  const size_t size = spec.group_size;
  for (size_t group = 0, at = 0; at < run.count; ++group, at += size) {
    const float* const x = run.values + at;
    const float magnitude = magnitude_of(x, size);
    if (!is_finite(magnitude)) return false;
    Grid grid = {0, 0};
    if (spec.zero_points)
      grid = asymmetric_grid(x, size, half, spec.scale_type);
    else
      grid.scale = stored_scale(magnitude / ((2 * half - 1) / 2), spec.scale_type);
    if (spec.method == QuantizeMethod::kSearch)
      grid = searched_integers(x, size, magnitude, grid, spec);
    if (spec.zero_points) run.parts.zeros[group] = static_cast<uint8_t>(grid.zero + half);
    run.parts.scales[group] = grid.scale;
    integer_codes<true>(x, size, grid, half, run.parts.codes + at, change);
  }
  return true;
}

inline void codebook_codes(const float* x, size_t n, float scale_of_all, const Codebook& book,
                           uint8_t* codes, Change& change) {
  const Vec factor = splat(1 / scale_of_all), scale = splat(scale_of_all);
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
  const Cells cells = cells_of(book);
  for (size_t block = 0, at = 0; at < run.count; ++block, at += spec.group_size) {
    const size_t rest = run.count - at, size = rest < spec.group_size ? rest : spec.group_size;
    const float magnitude = magnitude_of(run.values + at, size);
    if (!is_finite(magnitude)) return false;
    Grid grid = {magnitude, 0};
    if (spec.method == QuantizeMethod::kSearch)
      grid = searched_grid(run.values + at, size, magnitude, grid, CodebookLevels{cells});
    run.parts.scales[block] = grid.scale;
    // A block of zeros, or of numbers too small to have a reciprocal in float32.
    if (!is_finite(1 / grid.scale))
      std::memset(run.parts.codes + at, book.zero_code, size);
    else
      codebook_codes(run.values + at, size, grid.scale, book, run.parts.codes + at, change);
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
