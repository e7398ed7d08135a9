#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace llmkit {

/// The 256 values of an 8-bit code in ascending order, from -1 or 0 to 1: "dynamic tree
/// quantization" of https://arxiv.org/abs/1511.04561 as https://arxiv.org/abs/2110.02861 uses it.
/// Values of [10^(e - 1), 10^e], e = 0, -1 .. -6, are the middles of equal parts, half as many for
/// every step down; 0 and 1 are values as well. Without signs there are twice as many parts.
struct DynamicMap {
  float values[256];

  explicit DynamicMap(bool has_sign) {
    float* next = values;
    for (int exponent = 0; exponent > -7; --exponent) {
      const int parts = (has_sign ? 64 : 128) >> -exponent;
      for (int i = 0; i < parts; ++i) {
        const double middle = 0.1 + 0.9 * (i + 0.5) / parts;
        *next++ = static_cast<float>(middle * std::pow(10.0, exponent));
        if (has_sign) *next = -next[-1], ++next;
      }
    }
    *next++ = 0;
    *next = 1;
    std::sort(values, values + 256);
  }

  /// The code of the nearest value; of two as near, the lower.
  uint8_t code_of(float x) const {
    size_t below = 0;  // values[below] <= x, or below is 0
    for (size_t half = 128; half > 0; half /= 2) below += values[below + half] <= x ? half : 0;
    const size_t above = std::min<size_t>(below + 1, 255);
    return static_cast<uint8_t>(values[above] - x < x - values[below] ? above : below);
  }
};

}  // namespace llmkit
