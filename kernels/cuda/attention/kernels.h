#pragma once

#include "cuda/attention/query_rows.h"

// The parts of attention, launched one by one; attention.cu puts them together.

namespace llmkit::cuda {

/// Attention to keys and values that are rows of bf16 (load_rows_async), in one pass.
cudaError_t attend_rounded(const AttentionParams& p, size_t B, size_t K, float* y,
                           float* log_sum_exp, cudaStream_t stream);

}  // namespace llmkit::cuda
