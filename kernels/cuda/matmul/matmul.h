#pragma once

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

struct MatmulArgs {
  size_t batch_a, batch_b, m, n, k;
  const float* a;  // [batch_a, m, k], or [batch_a, k, m] when transposed
  const float* b;  // [batch_b, k, n], or [batch_b, n, k]
  float* y;        // [max(batch_a, batch_b), m, n]
  bool transpose_a, transpose_b;
};

/// y = a · b for every matrix of the batch, in float32; matrix i is made of matrices i mod batch_a
/// and i mod batch_b. An output's bits depend on its own row of a and column of b alone.
size_t matmul_workspace(const MatmulArgs& args);
cudaError_t matmul(const MatmulArgs& args, void* workspace, cudaStream_t stream);

}  // namespace llmkit::cuda
