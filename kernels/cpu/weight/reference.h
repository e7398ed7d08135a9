#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "base/weight_view.h"
#include "testing/testing.h"

namespace llmkit {

inline float half_reference(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  float value = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                              : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  if (exponent == 31) value = fraction == 0 ? INFINITY : NAN;
  return half >> 15 ? -value : value;
}

/// The formula of weight_view.h for one element.
inline float decode_reference(const WeightView& w, size_t element) {
  uint32_t bits = 0;
  if (w.format == WeightFormat::kF32) std::memcpy(&bits, w.codes + 4 * element, 4);
  if (w.format == WeightFormat::kBf16 || w.format == WeightFormat::kF16)
    std::memcpy(&bits, w.codes + 2 * element, 2);
  if (w.format == WeightFormat::kF16) return half_reference(static_cast<uint16_t>(bits));
  if (w.format == WeightFormat::kBf16) bits <<= 16;
  float value;
  std::memcpy(&value, &bits, 4);
  if (w.group_size == 0) return value;

  const size_t group = element / w.group_size;
  float scale = w.scales == nullptr ? 0 : w.scales[group];
  if (w.nested.codes != nullptr) {
    const volatile float product =
        w.nested.map[w.nested.codes[group]] * w.nested.absmax[group / w.nested.block_size];
    scale = product + w.nested.offset;
  }
  const uint8_t byte = w.codes[w.format == WeightFormat::kInt8 ? element : element / 2];
  const bool odd = element % 2 == 1;
  const int low_first = odd ? byte >> 4 : byte & 15, high_first = odd ? byte & 15 : byte >> 4;
  if (w.format == WeightFormat::kNf4) return kNf4Values[high_first] * scale;
  if (w.format == WeightFormat::kFp4) return kFp4Values[high_first] * scale;
  const bool eight = w.format == WeightFormat::kInt8;
  const int zero = w.zeros != nullptr ? w.zeros[group] : eight ? 128 : 8;
  return static_cast<float>((eight ? byte : low_first) - zero) * scale;
}

struct WeightCase {
  WeightFormat format;
  size_t rows, cols, group_size;
  bool nested, zeros;
};

/// A random weight, with the memory it looks at; its codes begin at an odd address.
class RandomWeight {
 public:
  explicit RandomWeight(const WeightCase& c)
      : codes_(testing::random_bytes(c.rows * c.cols * 4 + 9, 1)),
        scales_(testing::random_normal(c.rows * c.cols + 1, 2)),
        map_(testing::random_normal(256, 3)),
        absmax_(testing::random_normal(c.rows * c.cols + 1, 4)),
        scale_codes_(testing::random_bytes(c.rows * c.cols + 1, 5)),
        zeros_(testing::random_bytes(c.rows * c.cols + 1, 6)) {
    view.format = c.format;
    view.rows = c.rows;
    view.cols = c.cols;
    view.codes = codes_.data() + 1;
    const size_t step = c.format == WeightFormat::kF32 ? 4 : 2;
    if (c.format <= WeightFormat::kF16)  // moderate exponents
      for (size_t i = step; i < codes_.size(); i += step) codes_[i] = (codes_[i] & 0x81) | 0x3c;
    if (c.format < WeightFormat::kInt8) return;
    view.group_size = c.group_size;
    view.scales = c.nested ? nullptr : scales_.data();
    if (c.nested) view.nested = {scale_codes_.data(), map_.data(), absmax_.data(), 3, 0.25f};
    for (uint8_t& zero : zeros_) zero &= c.format == WeightFormat::kInt4 ? 15 : 255;
    view.zeros = c.zeros ? zeros_.data() : nullptr;
  }
  RandomWeight(const RandomWeight&) = delete;

  WeightView view;

 private:
  std::vector<uint8_t> codes_;
  std::vector<float> scales_, map_, absmax_;
  std::vector<uint8_t> scale_codes_, zeros_;
};

inline std::vector<WeightCase> weight_cases() {
  using F = WeightFormat;
  return {{F::kF32, 5, 33, 0, false, false},    {F::kBf16, 5, 33, 0, false, false},
          {F::kBf16, 9, 64, 0, false, false},   {F::kF16, 7, 48, 0, false, false},
          {F::kF16, 5, 31, 0, false, false},    {F::kInt8, 6, 64, 64, false, false},
          {F::kInt8, 6, 96, 32, false, true},   {F::kInt8, 5, 35, 35, false, false},
          {F::kInt4, 9, 64, 32, false, false},  {F::kInt4, 5, 128, 128, false, true},
          {F::kInt4, 7, 40, 8, false, true},    {F::kNf4, 9, 64, 64, false, false},
          {F::kNf4, 6, 128, 64, true, false},   {F::kNf4, 5, 37, 64, true, false},
          {F::kFp4, 6, 64, 32, false, false},   {F::kFp4, 7, 33, 64, false, false},
          {F::kInt4, 5, 96, 48, false, false},  {F::kInt4, 5, 96, 96, false, true},
          {F::kInt8, 5, 128, 128, false, true}, {F::kInt8, 5, 127, 127, false, false},
          {F::kNf4, 5, 96, 32, false, false},   {F::kNf4, 5, 129, 64, false, false},
          {F::kFp4, 5, 256, 128, true, false},  {F::kBf16, 5, 127, 0, false, false},
          {F::kF16, 5, 129, 0, false, false},   {F::kF32, 9, 9, 0, false, false}};
}

}  // namespace llmkit
