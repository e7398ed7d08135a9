#pragma once

#include "cpu/quantize/reference.h"

namespace llmkit {

/// A group in the grid that a search chose.
struct GroupGrid {
  double scale, zero;  // the zero point on the signed range
};

/// The level of the code that a value gets: exactly as it is chosen, for a scale of float32.
inline double level_reference(float value, const GroupGrid& grid, const QuantizeSpec& spec) {
  const auto scale = static_cast<float>(grid.scale);
  if (spec.format == WeightFormat::kInt8 || spec.format == WeightFormat::kInt4) {
    const double half = spec.format == WeightFormat::kInt8 ? 128 : 8;
    return integer_code(value, scale, grid.zero, half) - half - grid.zero;
  }
  const float* const values = spec.format == WeightFormat::kNf4 ? kNf4Values : kFp4Values;
  return values[codebook_code(value * (1 / scale), values)];
}

/// Sum of (x - restored)² in double.
inline double error_reference(const float* x, size_t n, const GroupGrid& grid,
                              const QuantizeSpec& spec) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    const double error = x[i] - level_reference(x[i], grid, spec) * grid.scale;
    sum += error * error;
  }
  return sum;
}

/// The least error of many scales from far below the largest value's to above it, with every zero
/// point, each refitted to its codes: what a search can hope for. Scales are not rounded as they
/// are stored.
inline double least_error_reference(const float* x, size_t n, const GroupGrid& nearest,
                                    const QuantizeSpec& spec) {
  constexpr int kScales = 300;
  const double half = spec.format == WeightFormat::kInt8 ? 128 : 8;
  double least = error_reference(x, n, nearest, spec);
  for (double zero = spec.zero_points ? -half : 0; zero < (spec.zero_points ? half : 1); ++zero)
    for (int i = 0; i < kScales; ++i) {
      const GroupGrid grid = {nearest.scale * (0.25 + i / 300.0), zero};
      double products = 0, squares = 0;
      for (size_t j = 0; j < n; ++j) {
        const double level = level_reference(x[j], grid, spec);
        products += x[j] * level;
        squares += level * level;
      }
      if (squares == 0) continue;
      least = std::min(least, error_reference(x, n, {products / squares, zero}, spec));
    }
  return least;
}

}  // namespace llmkit
