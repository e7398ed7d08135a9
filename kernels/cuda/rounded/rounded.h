#pragma once

#include "cuda/base/elements.h"

namespace llmkit::cuda {

// Products with a weight that is trained, in bf16: its float32 values and what it is multiplied
// with are rounded to bf16 for the call unless they are bf16, the sums are float32
// (cuda/gemm_bf16). A row of y and of dx has the same bits whatever m is.

/// y [m, rows] = x [m, cols] · weightᵀ + bias
struct RoundedLinearArgs {
  size_t m = 0, rows = 0, cols = 0;
  ConstElements x;
  const float* weight = nullptr;  // [rows, cols]
  const float* bias = nullptr;    // [rows] or null
  Elements y;
};
size_t rounded_linear_workspace(const RoundedLinearArgs& args);
cudaError_t rounded_linear(const RoundedLinearArgs& args, void* workspace, cudaStream_t stream);

/// dx [m, cols] = dy [m, rows] · weight, rows ascending
struct RoundedGradInputArgs {
  size_t m = 0, rows = 0, cols = 0;
  const float* dy = nullptr;
  const float* weight = nullptr;
  float* dx = nullptr;
};
size_t rounded_grad_input_workspace(const RoundedGradInputArgs& args);
cudaError_t rounded_grad_input(const RoundedGradInputArgs& args, void* workspace,
                               cudaStream_t stream);

/// dweight [rows, cols] = dyᵀ · x, rows of both ascending
struct RoundedGradWeightArgs {
  size_t m = 0, rows = 0, cols = 0;
  const float* dy = nullptr;  // [m, rows]
  ConstElements x;            // [m, cols]
  float* dweight = nullptr;
};
size_t rounded_grad_weight_workspace(const RoundedGradWeightArgs& args);
cudaError_t rounded_grad_weight(const RoundedGradWeightArgs& args, void* workspace,
                                cudaStream_t stream);

}  // namespace llmkit::cuda
