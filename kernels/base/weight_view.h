#pragma once

#include <cstddef>
#include <cstdint>

namespace llmkit {

enum class WeightFormat : uint8_t { kF32, kBf16, kF16, kInt8, kInt4, kNf4, kFp4 };

/// Scales kept as 8-bit codes: map[codes[g]] * absmax[g / block_size] + offset, each step rounded
/// to float32 (bitsandbytes' double quantization). codes is null when they are not.
struct NestedScales {
  const uint8_t* codes = nullptr;
  const float* map = nullptr;  // 256
  const float* absmax = nullptr;
  size_t block_size = 0;
  float offset = 0;
};

/// A [rows, cols] matrix in its stored format, row-major. Group g holds elements
/// [g * group_size, (g + 1) * group_size) of the flattened matrix.
///   int8, int4: (code - zero) * scale; nf4, fp4: table[code] * scale; one float32 product.
///   int4: element 2i in the low nibble of byte i; nf4, fp4: in the high nibble.
struct WeightView {
  WeightFormat format = WeightFormat::kF32;
  size_t rows = 0, cols = 0;
  const uint8_t* codes = nullptr;  // any alignment
  size_t group_size = 0;           // 0 for the float formats
  const float* scales = nullptr;   // one per group, unless nested
  NestedScales nested;
  const uint8_t* zeros = nullptr;  // one per group; null: 128 (int8), 8 (int4)
};

inline WeightView dense_view(const float* values, size_t rows, size_t cols) {
  WeightView view;
  view.rows = rows;
  view.cols = cols;
  view.codes = reinterpret_cast<const uint8_t*>(values);
  return view;
}

/// The codebooks of bitsandbytes, https://arxiv.org/abs/2305.14314 (NF4) and its 4-bit float.
constexpr float kNf4Values[16] = {-1.0f,
                                  -0.6961928009986877f,
                                  -0.5250730514526367f,
                                  -0.39491748809814453f,
                                  -0.28444138169288635f,
                                  -0.18477343022823334f,
                                  -0.09105003625154495f,
                                  0.0f,
                                  0.07958029955625534f,
                                  0.16093020141124725f,
                                  0.24611230194568634f,
                                  0.33791524171829224f,
                                  0.44070982933044434f,
                                  0.5626170039176941f,
                                  0.7229568362236023f,
                                  1.0f};
constexpr float kFp4Values[16] = {
    0.0f,  0.0052083333f,  0.66666667f,  1.0f,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
    -0.0f, -0.0052083333f, -0.66666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f};

}  // namespace llmkit
