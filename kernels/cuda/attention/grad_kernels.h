#pragma once

#include "cuda/attention/grad_rows.h"

// The parts of the gradient, launched one by one; attention_grad.cu puts them together.

namespace llmkit::cuda {

/// along [rows] = dy · y over rows of E values.
cudaError_t rows_along(const float* dy, const float* y, size_t rows, size_t E, float* along,
                       cudaStream_t stream);

/// dq, dk and dv, exact to float32: keys and values are rows of any type.
cudaError_t exact_grad(const GradParams& g, size_t B, size_t K, cudaStream_t stream);

/// The same with products of bf16: keys and values, and q and dy [B, K, rows, width], are bf16
/// rows.
struct RoundedGrad {
  GradParams g;
  KeyRows q, dy;
};
cudaError_t rounded_grad(const RoundedGrad& grad, size_t B, size_t K, cudaStream_t stream);

}  // namespace llmkit::cuda
