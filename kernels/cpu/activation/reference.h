#pragma once

#include <cmath>

#include "cpu/activation/activation.h"

namespace llmkit {

/// The formulas of activation.h in double.
inline double activation_reference(Activation f, double x) {
  const double pi = 3.14159265358979323846;
  switch (f) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
    case Activation::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kCount:
      break;
  }
  return NAN;
}

/// Its slope, by central differences.
inline double slope_reference(Activation f, double x) {
  const double h = 1e-5;
  if (f == Activation::kRelu) return x > 0 ? 1 : 0;
  return (activation_reference(f, x + h) - activation_reference(f, x - h)) / (2 * h);
}

}  // namespace llmkit
