#pragma once

#include <cmath>
#include <vector>

#include "cpu/norm/norm.h"

namespace llmkit {

/// The formulas of norm.h for one row, in double.
struct NormRowReference {
  std::vector<double> x;  // normalised
  double scale;

  NormRowReference(const NormArgs& p, size_t row) : x(p.cols) {
    const float* const values = p.x.floats() + row * p.cols;
    double mean = 0, squares = 0;
    for (size_t c = 0; c < p.cols; ++c) mean += values[c];
    mean = p.centered ? mean / static_cast<double>(p.cols) : 0;
    for (size_t c = 0; c < p.cols; ++c) {
      x[c] = values[c] - mean;
      squares += x[c] * x[c];
    }
    scale = 1 / std::sqrt(squares / static_cast<double>(p.cols) + p.eps);
    for (double& value : x) value *= scale;
  }

  std::vector<double> grad_input(const NormArgs& p, const float* dy) const {
    double mean = 0, along = 0;
    std::vector<double> g(p.cols);
    for (size_t c = 0; c < p.cols; ++c) {
      g[c] = double{dy[c]} * p.weight[c];
      mean += g[c] / static_cast<double>(p.cols);
      along += g[c] * x[c] / static_cast<double>(p.cols);
    }
    for (size_t c = 0; c < p.cols; ++c)
      g[c] = scale * (g[c] - (p.centered ? mean : 0) - x[c] * along);
    return g;
  }
};

}  // namespace llmkit
