#pragma once

#include "cpu/packed/kernels.h"

// Rows of x as int8: include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

/// Below it 1 / scale has no finite value; such a group counts as zeros.
constexpr float kLeastMaximum = 0x1p-119f;

inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// The largest magnitude of n floats; NaN when one is NaN. As bits: NaN is above infinity.
inline float largest_magnitude(const float* x, size_t n) {
  const Index magnitude = splat_int(0x7fffffff);
  Index most = splat_int(0);
  size_t k = 0;
  for (; k + kLanes <= n; k += kLanes) most = larger(most, bit_and(as_int(load(x + k)), magnitude));
  if (k < n) most = larger(most, bit_and(as_int(load_partial(x + k, n - k)), magnitude));
  int32_t lanes[kLanes], best = 0;
  store(reinterpret_cast<float*>(lanes), as_float(most));
  for (int32_t lane : lanes) best = lane > best ? lane : best;
  return float_of(static_cast<uint32_t>(best));
}

/// n floats times `inverse` as int8, zeros up to `stride`. @returns their sum
inline int32_t round_group(const float* x, size_t n, size_t stride, float inverse, int8_t* values) {
  Index total = splat_int(0);
  const auto rounded = [&](Vec v) {
    const Index result = to_int(mul(v, splat(inverse)));
    total = add(total, result);
    return result;
  };
  size_t k = 0;
  for (; k + kLanes <= n; k += kLanes) store_bytes(values + k, rounded(load(x + k)));
  if (k < n) {
    int8_t rest[kLanes];
    store_bytes(rest, rounded(load_partial(x + k, n - k)));
    std::memcpy(values + k, rest, n - k);
  }
  std::memset(values + n, 0, stride - n);
  return static_cast<int32_t>(sum(to_float(total)));  // exact: at most 128 values of 127
}

/// A group as int8: the nearest integers, ties to even, to x / scale. One that is not finite makes
/// the row's results NaN.
/// @returns the scale: the largest magnitude / 127
inline float prepare_group(const float* x, size_t n, size_t stride, int8_t* values,
                           int32_t* total) {
  const float most = largest_magnitude(x, n), scale = most / 127.0f;
  if (most >= kLeastMaximum && most <= 3.402823466e38f) {
    *total = round_group(x, n, stride, 1.0f / scale, values);
    return scale;
  }
  std::memset(values, 0, stride);
  *total = 0;
  return most < kLeastMaximum ? 0.0f : float_of(0x7fc00000);
}

inline void prepare_int8(const PackedWeight& w, const PrepareArgs& a) {
  const int32_t zero_point = w.has_zeros ? 1 : w.code == PackedCode::kFourBit ? 8 : 128;
  int8_t* values = static_cast<int8_t*>(a.values);
  for (size_t row = 0; row < a.m; ++row)
    for (size_t g = 0; g < w.groups; ++g, values += w.group_stride) {
      const size_t begin = g * w.group, left = w.cols - begin, i = row * w.groups + g;
      int32_t total;
      a.scales[i] = prepare_group(a.x + row * a.ldx + begin, left < w.group ? left : w.group,
                                  w.group_stride, values, &total);
      a.starts[i] = -total * zero_point;
    }
}

}  // namespace
}  // namespace llmkit
