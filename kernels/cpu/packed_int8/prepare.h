#pragma once

#include "cpu/packed/kernels.h"

// Rows of x as int8: include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

/// Below the first 1 / scale has no finite value; such a group counts as zeros. Above the second
/// there is infinity.
constexpr float kLeastMaximum = 0x1p-119f, kMostMaximum = 0x1.fffffep127f;

/// Columns of the largest groups: wider ones are cut when a weight is packed.
constexpr size_t kMostGroupCols = 128;

inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// n <= kLanes floats, zeros after them.
inline Vec load_some(const float* p, size_t n) { return n < kLanes ? load_partial(p, n) : load(p); }

/// The largest magnitude of n floats; NaN when one is NaN. As bits: NaN is above infinity.
inline float largest_magnitude(const float* x, size_t n) {
  const Index magnitude = splat_int(0x7fffffff);
  Index most = splat_int(0);
  for (size_t k = 0; k < n; k += kLanes)
    most = larger(most, bit_and(as_int(load_some(x + k, n - k)), magnitude));
  return float_of(largest_lane(most));
}

/// A group as int8: the nearest integers, ties to even, to x times `inverse`; zeros where that is
/// 0. x is about these times `scale`, the largest magnitude / 127. One that is not finite makes the
/// row's results NaN.
struct GroupScale {
  float scale, inverse;
};
inline GroupScale group_scale(const float* x, size_t n) {
  const float most = largest_magnitude(x, n), scale = most / 127.0f;
  if (most >= kLeastMaximum && most <= kMostMaximum) return {scale, 1.0f / scale};
  return {most < kLeastMaximum ? 0.0f : float_of(0x7fc00000), 0.0f};
}

/// Writes a group, and zeros up to `stride`. @returns the sum of the integers
inline int32_t round_group(const float* x, size_t n, size_t stride, float inverse, int8_t* values) {
  Index total = splat_int(0);
  for (size_t k = 0; k < n; k += kLanes) {
    const Index rounded = to_int(mul(load_some(x + k, n - k), splat(inverse)));
    total = add(total, rounded);
    if (n - k >= kLanes) {
      store_bytes(values + k, rounded);
    } else {
      int8_t rest[kLanes];
      store_bytes(rest, rounded);
      std::memcpy(values + k, rest, n - k);
    }
  }
  std::memset(values + n, 0, stride - n);
  return static_cast<int32_t>(sum(to_float(total)));  // exact: at most 128 values of 127
}

/// Puts a row of a group between those beside it: its fours are `side` fours apart.
inline void spread_fours(const int8_t* values, size_t stride, size_t side, int8_t* out) {
  for (size_t k = 0; k < stride; k += 4) std::memcpy(out + k * side, values + k, 4);
}

/// What the sum of a group is multiplied with in its start, but for the sign.
inline int32_t zero_point_of(const PackedWeight& w) {
  return w.has_zeros ? 1 : w.code == PackedCode::kFourBit ? 8 : 128;
}

/// Where a group of the rows that lie side by side goes.
struct PreparedGroup {
  int8_t* values;
  float* scales;
  int32_t* starts;
};

/// Group g of a row, which is number `at` of `side` rows.
inline void prepare_row_group(const PackedWeight& w, const float* row, size_t g, size_t at,
                              size_t side, const PreparedGroup& to) {
  const size_t begin = g * w.group, left = w.cols - begin;
  const float* const x = row + begin;
  const size_t n = left < w.group ? left : w.group;
  const GroupScale scale = group_scale(x, n);
  int8_t rounded[kMostGroupCols];
  const int32_t sum =
      round_group(x, scale.inverse == 0 ? 0 : n, w.group_stride, scale.inverse, rounded);
  spread_fours(rounded, w.group_stride, side, to.values + 4 * at);
  to.scales[at] = scale.scale;
  to.starts[at] = -zero_point_of(w) * sum;
}

/// Group g of the `side` rows of the block from `row` on.
inline PreparedGroup prepared_group(const PackedWeight& w, const PrepareArgs& a, size_t row,
                                    size_t side, size_t g) {
  const size_t factors = row * w.groups + g * side;
  return {static_cast<int8_t*>(a.values) + row * w.padded_cols() + g * w.group_stride * side,
          a.scales + factors, a.starts + factors};
}

/// Rows in blocks of kRows, the last one of as many as are left. Of a block, four columns of each
/// row lie side by side, then the next four; so do the scales of a group, and its starts.
template <int kRows>
inline void prepare_int8(const PackedWeight& w, const PrepareArgs& a) {
  for (size_t row = 0; row < a.m; ++row) {
    const size_t block = row / kRows * kRows;
    const size_t side = a.m - block < kRows ? a.m - block : kRows;
    for (size_t g = 0; g < w.groups; ++g)
      prepare_row_group(w, a.x + row * a.ldx, g, row - block, side,
                        prepared_group(w, a, block, side, g));
  }
}

}  // namespace
}  // namespace llmkit
