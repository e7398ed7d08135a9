#include <algorithm>
#include <cstring>

#include "base/bf16.h"
#include "cuda/packed/packed.h"

namespace llmkit::cuda {
namespace {

constexpr size_t kLongestGroup = 128;

/// Columns of a packed group; 0 when the stored groups cannot be kept.
int packed_group(const WeightView& view) {
  const size_t stored = view.group_size;
  if (stored == 0 || view.cols % stored != 0) return 0;
  if (stored == view.cols) return kLongestGroup;
  for (size_t group = kLongestGroup; group >= 32; group /= 2)
    if (stored % group == 0) return static_cast<int>(group);
  return 0;
}

bool is_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits & 0xffffu) == 0;
}

/// Whether a half has this value: 11 bits from 2^-14 on, whole multiples of 2^-24 below.
bool is_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const int exponent = static_cast<int>(bits >> 23 & 255u) - 127;
  if ((bits & 0x7fffffffu) == 0) return true;
  if (exponent < -24 || exponent > 15) return false;
  const int dropped = exponent >= -14 ? 13 : -1 - exponent;
  return (((bits & 0x7fffffu) | 0x800000u) & ((1u << dropped) - 1)) == 0;
}

size_t code_bytes(const PackedWeight& w) {
  return w.row_tiles() * w.column_tiles() * planes_of(w.code) * kPlaneBytes;
}
size_t scale_count(const PackedWeight& w) {
  return w.scale_type == ScaleType::kNone ? 0 : w.row_tiles() * w.groups() * kTileRows;
}
size_t scale_bytes(const PackedWeight& w) {
  return scale_count(w) * (w.scale_type == ScaleType::kF32 ? 4 : 2);
}

}  // namespace

ScaleType exact_scale_type(const WeightView& host) {
  if (host.group_size == 0) return ScaleType::kNone;
  if (host.nested.codes != nullptr) return ScaleType::kF32;
  const size_t groups = (host.rows * host.cols + host.group_size - 1) / host.group_size;
  if (std::all_of(host.scales, host.scales + groups, is_half)) return ScaleType::kF16;
  return std::all_of(host.scales, host.scales + groups, is_bf16) ? ScaleType::kBf16
                                                                 : ScaleType::kF32;
}

PackedWeight packed_form(const WeightView& view, ScaleType scale_type) {
  PackedWeight w;
  w.rows = view.rows;
  w.cols = view.cols;
  const int group = packed_group(view);
  if (group == 0) return w;
  w.group = group;
  w.scale_type = scale_type;
  const bool table = view.format == WeightFormat::kNf4 || view.format == WeightFormat::kFp4;
  w.has_zeros = view.zeros != nullptr && !table;
  w.code = table                                ? PackedCode::kTable
           : view.format == WeightFormat::kInt8 ? PackedCode::kInt8
                                                : PackedCode::kInt4;
  const float* const values = view.format == WeightFormat::kFp4 ? kFp4Values : kNf4Values;
  if (table) std::transform(values, values + 16, w.values, to_bf16);
  return w;
}

size_t packed_bytes(const PackedWeight& weight) {
  return code_bytes(weight) + scale_bytes(weight) + (weight.has_zeros ? scale_count(weight) : 0);
}

void place_packed(PackedWeight& weight, void* memory) {
  char* const bytes = static_cast<char*>(memory);
  weight.codes = bytes;
  weight.scales = bytes + code_bytes(weight);
  weight.zeros =
      weight.has_zeros
          ? reinterpret_cast<const uint8_t*>(bytes + code_bytes(weight) + scale_bytes(weight))
          : nullptr;
}

}  // namespace llmkit::cuda
