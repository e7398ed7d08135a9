#pragma once

#include <cstddef>

namespace llmkit {

/// Over each row of cols floats: y = e^(x - max) / sum of e^(x - max). y may be x.
void softmax(size_t rows, size_t cols, const float* x, float* y);
/// Rows on one thread.
struct SoftmaxKernels {
  void (*softmax)(size_t rows, size_t cols, const float* x, float* y);
};

#define SOFTMAX_KERNELS(isa, name) extern const SoftmaxKernels name;
#include "cpu/softmax/kernels.inc"
#undef SOFTMAX_KERNELS

}  // namespace llmkit
