#pragma once

#include <cstring>
#include <vector>

#include "base/bf16.h"
#include "cpu/packed/kernels.h"
#include "cpu/weight/reference.h"

namespace llmkit {

/// Where packed_weight.h says that a column of a group is: the line, the bits of the row's dword.
struct PackedPlace {
  size_t line;
  int shift, bits;
};

inline PackedPlace packed_place(PackedCode code, size_t col) {
  const int j = static_cast<int>(col % 8);
  if (code == PackedCode::kFourBit) return {col / 8, j % 4 * 8 + j / 4 * 4, 4};
  if (code == PackedCode::kEightBit) return {col / 4, j % 4 * 8, 8};
  return {col / 2, j % 2 * 16, 16};
}

/// The bits stored for column `col` of group `group`; columns and rows of the padding included.
inline uint32_t packed_bits(const PackedWeight& w, size_t row, size_t group, size_t col) {
  const PackedPlace place = packed_place(w.code, col);
  const uint8_t* const lines = w.tile(row / 16) + group * w.group_bytes +
                               packed_scale_bytes(w.scale_type) + (w.has_zeros ? 16 : 0);
  uint32_t dword;
  std::memcpy(&dword, lines + place.line * 64 + row % 16 * 4, sizeof dword);
  return dword >> place.shift & ((1u << place.bits) - 1);
}

inline float packed_scale(const PackedWeight& w, size_t row, size_t group) {
  const uint8_t* const scales = w.tile(row / 16) + group * w.group_bytes;
  float scale = 1;
  uint16_t half;
  if (w.scale_type == ScaleType::kF32) std::memcpy(&scale, scales + row % 16 * 4, sizeof scale);
  std::memcpy(&half, scales + row % 16 * 2, sizeof half);
  if (w.scale_type == ScaleType::kBf16) return from_bf16(half);
  return w.scale_type == ScaleType::kF16 ? half_reference(half) : scale;
}

/// The zero point of a group, that of the format where the weight has none of its own.
inline int packed_zero(const PackedWeight& w, size_t row, size_t group) {
  if (!w.has_zeros) return w.code == PackedCode::kFourBit ? 8 : 128;
  return (w.tile(row / 16) + group * w.group_bytes + packed_scale_bytes(w.scale_type))[row % 16];
}

/// The value of an element, before its scale: code - zero, a table's value, or a bf16 value.
inline float packed_unscaled(const PackedWeight& w, size_t row, size_t group, size_t col) {
  const uint32_t bits = packed_bits(w, row, group, col);
  if (w.code == PackedCode::kSixteenBit) return from_bf16(static_cast<uint16_t>(bits));
  if (w.code == PackedCode::kFourBit && !w.has_zeros) return from_bf16(w.values[bits]);
  return static_cast<float>(static_cast<int>(bits) - packed_zero(w, row, group));
}

/// Rows of x as some kernels want them, which need not be those that prepare_rows would choose.
class PreparedFor {
 public:
  PreparedFor(const PackedKernels& kernels, const PackedWeight& w, size_t m, const float* x) {
    const size_t all = (m + kernels.row_block - 1) / kernels.row_block * kernels.row_block;
    const bool integers = w.compute == Compute::kInt8;
    values_.resize(all * kernels.padded_cols(w) * kernels.value_bytes);
    factors_.resize(all * w.groups);
    starts_.resize(all * w.groups);
    float* const scales = integers ? factors_.data() : nullptr;
    int32_t* const starts = integers ? starts_.data() : nullptr;
    float* const totals = !integers && w.has_zeros ? factors_.data() : nullptr;
    kernels.prepare(w, {m, x, w.cols, values_.data(), scales, starts, totals});
    rows = {m, kernels.padded_cols(w), values_.data(), scales, starts, totals};
  }
  PreparedFor(const PreparedFor&) = delete;
  PreparedRows rows;

 private:
  std::vector<uint8_t> values_;
  std::vector<float> factors_;
  std::vector<int32_t> starts_;
};

/// Weights for tests of packed products: every format, groups of all kinds, tails everywhere.
inline std::vector<WeightCase> packed_cases() {
  using F = WeightFormat;
  std::vector<WeightCase> cases = weight_cases();
  const std::vector<WeightCase> more = {
      {F::kInt4, 33, 128, 64, false, false},  {F::kInt4, 40, 300, 300, false, false},
      {F::kInt4, 17, 300, 300, false, true},  {F::kInt4, 20, 512, 256, false, true},
      {F::kInt4, 18, 400, 200, false, false}, {F::kInt4, 7, 262, 131, false, false},
      {F::kInt4, 35, 75, 25, false, true},    {F::kInt4, 16, 44, 11, true, false},
      {F::kInt4, 3, 20, 4, false, false},     {F::kInt8, 50, 256, 128, false, false},
      {F::kInt8, 31, 81, 27, false, true},    {F::kInt8, 16, 150, 150, false, false},
      {F::kNf4, 34, 256, 64, true, false},    {F::kBf16, 37, 130, 0, false, false},
      {F::kF32, 17, 40, 0, false, false},     {F::kInt4, 1, 1, 1, false, false},
      {F::kInt4, 15, 63, 63, false, false},   {F::kInt8, 32, 65, 65, false, true},
      {F::kFp4, 63, 17, 64, false, false},    {F::kNf4, 65, 31, 64, true, false},
      {F::kF16, 33, 15, 0, false, false},     {F::kBf16, 15, 63, 0, false, false},
      {F::kBf16, 64, 1, 0, false, false},     {F::kInt4, 129, 127, 127, false, false},
      {F::kInt8, 127, 129, 129, false, true}, {F::kInt4, 9, 192, 48, false, false},
      {F::kInt4, 31, 192, 96, false, true},   {F::kInt8, 33, 144, 48, false, false},
      {F::kInt8, 17, 96, 96, false, false},   {F::kNf4, 15, 288, 96, false, false},
      {F::kFp4, 16, 384, 128, false, false},  {F::kNf4, 17, 32, 32, false, false},
      {F::kBf16, 129, 127, 0, false, false},  {F::kBf16, 8, 129, 0, false, false},
      {F::kF16, 127, 9, 0, false, false},     {F::kBf16, 17, 7, 0, false, false},
      {F::kF32, 31, 8, 0, false, false},      {F::kF16, 2, 32, 0, false, false}};
  cases.insert(cases.end(), more.begin(), more.end());
  return cases;
}

}  // namespace llmkit
