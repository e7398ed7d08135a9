#pragma once

#include "base/weight_view.h"
#include "cuda/base/elements.h"

namespace llmkit::cuda {

// Products with a weight in float32: a frozen one in its stored format, decoded on the way, or a
// trained one (dense_view). The view's pointers are device memory. A row of the result has the same
// bits whatever m is.

/// y [m, rows] = x [m, cols] · weightᵀ + bias [rows] + residual [m, rows]
struct LinearArgs {
  WeightView weight;
  size_t m = 0;
  ConstElements x;
  const float* bias = nullptr;      // or null
  const float* residual = nullptr;  // or null; may be y
  float* y = nullptr;
};
size_t linear_workspace(const LinearArgs& args);
cudaError_t linear(const LinearArgs& args, void* workspace, cudaStream_t stream);

/// dx [m, cols] = dy [m, rows] · weight
struct LinearGradInputArgs {
  WeightView weight;
  size_t m = 0;
  const float* dy = nullptr;
  float* dx = nullptr;
};
size_t linear_grad_input_workspace(const LinearGradInputArgs& args);
cudaError_t linear_grad_input(const LinearGradInputArgs& args, void* workspace,
                              cudaStream_t stream);

}  // namespace llmkit::cuda
