#pragma once

#include "cuda/gemm_bf16/gemm_bf16.h"

// What the kernels of the bf16 product share.

namespace llmkit::cuda {

/// Blocks that fill a GPU well enough.
constexpr size_t kEnoughBlocks = 128;

/// gemm_bf16 of operands that both run along k, by products of warpgroups, where this chip has
/// them.
cudaError_t gemm_bf16_by_groups(const Bf16GemmArgs& args, cudaStream_t stream);

__device__ __forceinline__ float finish_bf16(const Bf16GemmArgs& args, float sum, size_t row,
                                             size_t col) {
  if (args.bias != nullptr) sum += args.bias[col];
  if (args.residual != nullptr) sum += args.residual[row * args.n + col];
  return sum;
}

/// Writes two neighbours of a row of y, or as many as there are.
__device__ __forceinline__ void write_pair(const Bf16GemmArgs& args, size_t row, size_t col,
                                           float first, float second) {
  if (row >= args.m || col >= args.n) return;
  const size_t at = row * args.n + col;
  first = finish_bf16(args, first, row, col);
  if (col + 1 == args.n)
    store_element(args.y, at, first);
  else
    store_pair(args.y, at, first, finish_bf16(args, second, row, col + 1));
}

}  // namespace llmkit::cuda
