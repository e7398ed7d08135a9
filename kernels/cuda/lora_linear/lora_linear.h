#pragma once

#include "base/weight_view.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

struct PackedWeight;  // cuda/packed/packed.h

/// A frozen weight [rows, cols] with a low-rank one beside it, https://arxiv.org/abs/2106.09685:
/// scale · b · a. low and the gradients of a and b are in float32 whatever the compute type of the
/// weight; what is added to y and dx is too, unless the weight is packed (LowRank in
/// cuda/packed_linear).
struct LoraWeight {
  WeightView weight;                     // device pointers; of a packed weight only the sizes
  const PackedWeight* packed = nullptr;  // null: products with the weight are in float32
  size_t rank = 0;
  const float* a = nullptr;  // [rank, cols]
  const float* b = nullptr;  // [rows, rank]
  float scale = 1;
};

/// y = x · weightᵀ + bias + low · bᵀ, low = scale · dropped · aᵀ. A row of y and low has the same
/// bits whatever m is.
struct LoraArgs {
  LoraWeight weight;
  size_t m = 0;
  const float* x = nullptr;        // [m, cols]
  const float* dropped = nullptr;  // [m, cols]: x after dropout, or x itself
  const float* bias = nullptr;     // [rows] or null
  float* y = nullptr;              // [m, rows]
  float* low = nullptr;            // [m, rank]
};
size_t lora_linear_workspace(const LoraArgs& args);
cudaError_t lora_linear(const LoraArgs& args, void* workspace, cudaStream_t stream);

struct LoraGradArgs {
  LoraWeight weight;
  size_t m = 0;
  const float* dy = nullptr;       // [m, rows]
  const float* dropped = nullptr;  // [m, cols]
  const float* low = nullptr;      // [m, rank]
  float* dx = nullptr;             // [m, cols]
  float* ddropped = nullptr;       // [m, cols]; null where dropped is x: dx is then the sum of both
  float* da = nullptr;             // [rank, cols]
  float* db = nullptr;             // [rows, rank]
};
size_t lora_linear_grad_workspace(const LoraGradArgs& args);
cudaError_t lora_linear_grad(const LoraGradArgs& args, void* workspace, cudaStream_t stream);

}  // namespace llmkit::cuda
