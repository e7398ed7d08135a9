#pragma once

#include "cuda/attention/grad_rows.h"

// The parts of the gradient, launched one by one; attention_grad.cu puts them together.

namespace llmkit::cuda {

/// dq, dk and dv, exact to float32: keys and values are rows of any type.
cudaError_t exact_grad(const GradParams& g, size_t B, size_t K, cudaStream_t stream);

/// The same with products of bf16, in two parts: dk and dv, and dq. Keys and values, and q and dy
/// [B, K, rows, width], are bf16 rows. What is multiplied by weights is finite: q and dy in the
/// first part, keys in the second.
struct RoundedGrad {
  GradParams g;
  KeyRows q, dy;
};
cudaError_t rounded_grad_keys(const RoundedGrad& grad, size_t B, size_t K, cudaStream_t stream);
cudaError_t rounded_grad_queries(const RoundedGrad& grad, size_t B, size_t K, cudaStream_t stream);

/// The same by products of warpgroups, of heads of 64 or 128 values, where the chip has them.
cudaError_t grad_keys_by_groups(const RoundedGrad& grad, size_t B, size_t K, cudaStream_t stream);
cudaError_t grad_queries_by_groups(const RoundedGrad& grad, size_t B, size_t K,
                                   cudaStream_t stream);

}  // namespace llmkit::cuda
