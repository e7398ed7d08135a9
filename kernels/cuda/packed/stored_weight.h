#pragma once

#include <cstring>

#include "base/weight_view.h"
#include "cuda/base/cuda.h"

// Single elements of a stored weight, on the device. weight_view.h has the formats.

namespace llmkit::cuda {

/// The scale of a group, each step rounded to float32.
__device__ inline float stored_scale(const WeightView& view, size_t group) {
  const NestedScales& nested = view.nested;
  if (nested.codes == nullptr) return view.scales[group];
  const float scaled = nested.map[nested.codes[group]] * nested.absmax[group / nested.block_size];
  return scaled + nested.offset;
}

/// The code of an element of int8, int4, nf4 or fp4.
__device__ inline unsigned stored_code(const WeightView& view, size_t element) {
  if (view.format == WeightFormat::kInt8) return view.codes[element];
  const bool low = (element % 2 == 0) == (view.format == WeightFormat::kInt4);
  return view.codes[element / 2] >> (low ? 0 : 4) & 15u;
}

__device__ inline unsigned stored_zero(const WeightView& view, size_t group) {
  if (view.zeros != nullptr) return view.zeros[group];
  return view.format == WeightFormat::kInt8 ? 128 : 8;
}

/// An element of a format without groups; its bytes may lie anywhere.
__device__ inline float stored_float(const WeightView& view, size_t element) {
  const int bytes = view.format == WeightFormat::kF32 ? 4 : 2;
  uint32_t bits = 0;
  for (int i = 0; i < bytes; ++i)
    bits |= static_cast<uint32_t>(view.codes[element * bytes + i]) << 8 * i;
  if (view.format == WeightFormat::kF16) {
    const uint16_t half_bits = static_cast<uint16_t>(bits);
    __half half;
    memcpy(&half, &half_bits, sizeof half);
    return __half2float(half);
  }
  if (view.format == WeightFormat::kBf16) bits <<= 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/// Any element in float32. `table` has the 16 values of nf4 or fp4.
__device__ inline float stored_value(const WeightView& view, const float* table, size_t element) {
  if (view.group_size == 0) return stored_float(view, element);
  const size_t group = element / view.group_size;
  const float scale = stored_scale(view, group);
  const unsigned code = stored_code(view, element);
  if (view.format == WeightFormat::kNf4 || view.format == WeightFormat::kFp4)
    return table[code] * scale;
  return static_cast<float>(static_cast<int>(code) - static_cast<int>(stored_zero(view, group))) *
         scale;
}

}  // namespace llmkit::cuda
