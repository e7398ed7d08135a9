#pragma once

#include <cstddef>

#include "base/elements.h"

namespace llmkit {

/// Root mean square normalisation, https://arxiv.org/abs/1910.07467 (centered = false):
///   y = x / sqrt(mean(x²) + eps) · weight
/// and layer normalisation, https://arxiv.org/abs/1607.06450 (centered = true):
///   y = (x - mean(x)) / sqrt(mean((x - mean(x))²) + eps) · weight + bias
/// over rows of cols > 0 values.
struct NormArgs {
  size_t rows, cols;
  ConstElements x;
  const float* weight;  // [cols]
  float eps;
  bool centered;
};

/// bias may be null; y may be x.
void norm(const NormArgs& args, const float* bias, const Elements& y);

/// dx, and dweight and dbias (summed over the rows in order), may be null; dx may be dy.
void norm_grad(const NormArgs& args, const float* dy, float* dx, float* dweight, float* dbias);

/// What a row is shifted and scaled by.
struct NormStatistics {
  float mean, scale;
};

/// The parts of it, on one thread: of a row of float32, and for grad_weight of columns [begin, end)
/// of all rows x.
struct NormKernels {
  NormStatistics (*statistics)(const NormArgs& args, const float* row);
  void (*forward)(const NormArgs& args, const float* row, const float* bias, float* y);
  void (*grad_weight)(const NormArgs& args, const float* x, const NormStatistics* statistics,
                      const float* dy, size_t begin, size_t end, float* dweight, float* dbias);
  void (*grad_input)(const NormArgs& args, const float* row, const NormStatistics& statistics,
                     const float* dy, float* dx);
};

#define NORM_KERNELS(isa, name) extern const NormKernels name;
#include "cpu/norm/kernels.inc"
#undef NORM_KERNELS

}  // namespace llmkit
