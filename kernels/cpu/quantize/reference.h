#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/quantize/quantize.h"
#include "cpu/weight/reference.h"

namespace llmkit {

/// Quantized parts in their own memory, codes one per byte.
struct QuantizedReference {
  std::vector<uint8_t> codes, zeros;
  std::vector<float> scales;
};

/// The number of `digits` binary digits nearest to x >= 0, in steps no finer than `step`.
inline double rounded_to(double x, int digits, double step) {
  if (x == 0) return 0;
  const double unit = std::max(std::ldexp(1.0, std::ilogb(x) - digits + 1), step);
  return std::nearbyint(x / unit) * unit;  // ties to even
}

inline float stored_reference(float scale, ScaleType type) {
  double stored = scale;
  if (type == ScaleType::kBf16) stored = rounded_to(scale, 8, 0x1p-133);
  if (type == ScaleType::kF16) stored = rounded_to(scale, 11, 0x1p-24);
  if (type == ScaleType::kF16 && stored > 65504) stored = INFINITY;
  return stored == 0 ? 0x1p-23f : static_cast<float>(stored);
}

inline uint8_t integer_code(float w, float scale, double zero, double half) {
  const float quotient = w / scale;
  const float steps = static_cast<float>(quotient + zero);
  return static_cast<uint8_t>(std::nearbyint(std::clamp<double>(steps, -half, half - 1)) + half);
}

inline void quantize_integers(const std::vector<float>& w, const QuantizeSpec& spec,
                              QuantizedReference& out) {
  const double half = spec.format == WeightFormat::kInt8 ? 128 : 8, levels = 2 * half - 1;
  for (size_t begin = 0; begin < w.size(); begin += spec.group_size) {
    const auto first = w.begin() + begin, last = first + spec.group_size;
    const float low = std::min(0.0f, *std::min_element(first, last));
    const float high = std::max(0.0f, *std::max_element(first, last));
    const float range = spec.zero_points ? high - low : std::max(high, -low);
    const double steps = spec.zero_points ? levels : levels / 2;
    const float scale = stored_reference(static_cast<float>(range / steps), spec.scale_type);
    double zero = 0;
    if (spec.zero_points) {
      const float lowest = static_cast<float>(-half - static_cast<double>(low / scale));
      zero = std::nearbyint(std::clamp<double>(lowest, -half, half - 1));
      out.zeros.push_back(static_cast<uint8_t>(zero + half));
    }
    out.scales.push_back(scale);
    for (auto value = first; value != last; ++value)
      out.codes.push_back(integer_code(*value, scale, zero, half));
  }
}

/// The code of the nearest value; of equally near ones the lowest value, of two zeros code 0.
inline uint8_t codebook_code(float t, const float* values) {
  int best = -1;
  for (int code = 0; code < 16; ++code) {
    if (best < 0) {
      best = code;
      continue;
    }
    // In float32, the middle of two values may round: it decides, not the distances.
    const float low = std::min(values[code], values[best]);
    const float high = std::max(values[code], values[best]);
    const bool takes_high = t > (low + high) / 2;
    if (low == high) best = takes_high ? std::max(code, best) : std::min(code, best);
    else best = (values[code] == high) == takes_high ? code : best;
  }
  return static_cast<uint8_t>(best);
}

inline void quantize_blocks(const std::vector<float>& w, const QuantizeSpec& spec,
                            QuantizedReference& out) {
  const bool nf4 = spec.format == WeightFormat::kNf4;
  for (size_t begin = 0; begin < w.size(); begin += spec.group_size) {
    const size_t end = std::min(begin + spec.group_size, w.size());
    float largest = 0;
    for (size_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(w[i]));
    const float reciprocal = 1 / largest;
    out.scales.push_back(largest);
    for (size_t i = begin; i < end; ++i)
      out.codes.push_back(std::isinf(reciprocal) ? (nf4 ? 7 : 0)
                          : codebook_code(w[i] * reciprocal, nf4 ? kNf4Values : kFp4Values));
  }
}

inline QuantizedReference quantize_reference(const std::vector<float>& w,
                                             const QuantizeSpec& spec) {
  QuantizedReference out;
  if (spec.format == WeightFormat::kInt8 || spec.format == WeightFormat::kInt4)
    quantize_integers(w, spec, out);
  else
    quantize_blocks(w, spec, out);
  return out;
}

/// Two codes per byte, as WeightView has them; int8 as it is.
inline std::vector<uint8_t> packed_reference(std::vector<uint8_t> codes, WeightFormat format) {
  if (format == WeightFormat::kInt8) return codes;
  if (codes.size() % 2 == 1) codes.push_back(format == WeightFormat::kNf4 ? 7 : 0);
  std::vector<uint8_t> packed;
  for (size_t i = 0; i < codes.size(); i += 2)
    packed.push_back(static_cast<uint8_t>(format == WeightFormat::kInt4
                                              ? codes[i] | codes[i + 1] << 4
                                              : codes[i] << 4 | codes[i + 1]));
  return packed;
}

}  // namespace llmkit
