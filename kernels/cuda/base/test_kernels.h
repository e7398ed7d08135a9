#pragma once

#include "cuda/base/cuda.h"

// Kernels that test what base/ and the emulator promise.

namespace llmkit::cuda {

/// to [n] = value.
cudaError_t fill(float* to, size_t n, float value, cudaStream_t stream);

/// sums [blocks] of 256 values each: by shuffles in a warp and shared memory in the block.
cudaError_t sum_blocks(const float* values, size_t blocks, float* sums, cudaStream_t stream);

/// The same over dynamic shared memory, cut in half again and again.
cudaError_t sum_blocks_in_tree(const float* values, size_t blocks, float* sums,
                               cudaStream_t stream);

/// c [16, 8] = a [16, k] · b [8, k]ᵀ, k a multiple of 16, by copies, ldmatrix and mma in a warp.
cudaError_t multiply(const bf16* a, const bf16* b, size_t k, float* c, cudaStream_t stream);

/// to [8, 8] = fromᵀ, by ldmatrix.
cudaError_t transpose(const bf16* from, bf16* to, cudaStream_t stream);

/// What lanes get from lanes: [7, 32] of __shfl_sync from 5, xor 3, up 2, down 2, the first of each
/// segment of 8, the ballot of odd lanes and the sum.
cudaError_t exchange(int* results, cudaStream_t stream);

}  // namespace llmkit::cuda
