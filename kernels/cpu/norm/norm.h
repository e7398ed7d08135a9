#pragma once

#include <cstddef>

namespace llmkit {

/// Root mean square normalisation, https://arxiv.org/abs/1910.07467 (centered = false):
///   y = x / sqrt(mean(x²) + eps) · weight
/// and layer normalisation, https://arxiv.org/abs/1607.06450 (centered = true):
///   y = (x - mean(x)) / sqrt(mean((x - mean(x))²) + eps) · weight + bias
/// over rows of cols > 0 floats.
struct NormArgs {
  size_t rows, cols;
  const float* x;
  const float* weight;  // [cols]
  float eps;
  bool centered;
};

/// bias may be null; y may be x.
void norm(const NormArgs& args, const float* bias, float* y);

/// dweight and dbias (summed over the rows in order) may be null; dx may be dy.
void norm_grad(const NormArgs& args, const float* dy, float* dx, float* dweight, float* dbias);

/// What a row is shifted and scaled by.
struct NormStatistics {
  float mean, scale;
};

/// The parts of it, on one thread; begin and end are rows or, for grad_weight, columns.
struct NormKernels {
  void (*statistics)(const NormArgs& args, size_t begin, size_t end, NormStatistics* statistics);
  void (*forward)(const NormArgs& args, const float* bias, size_t begin, size_t end, float* y);
  void (*grad_weight)(const NormArgs& args, const NormStatistics* statistics, const float* dy,
                      size_t begin, size_t end, float* dweight, float* dbias);
  void (*grad_input)(const NormArgs& args, const NormStatistics* statistics, const float* dy,
                     size_t begin, size_t end, float* dx);
};

#define NORM_KERNELS(isa, name) extern const NormKernels name;
#include "cpu/norm/kernels.inc"
#undef NORM_KERNELS

}  // namespace llmkit
