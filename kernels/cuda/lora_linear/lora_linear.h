#pragma once

#include "cpu/lora_linear/lora_linear.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

struct PackedWeight;  // cuda/packed/packed.h
struct PackedLayer;   // cuda/packed_linear/packed_linear.h

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

// lora_linear and its gradient as in cpu/lora_linear/lora_linear.h, over arrays of the device. A
// row of y, low, dx and ddropped has the same bits whatever m is.

size_t lora_linear_workspace(const LoraWeight& weight, const LoraArgs& args);
cudaError_t lora_linear(const LoraWeight& weight, const LoraArgs& args, void* workspace,
                        cudaStream_t stream);

// lora_linear beside a packed weight in two halves, for a product with more layers or another end:
// low, and the layer of packed_linears that adds low · bᵀ.
size_t lora_low_workspace(const LoraWeight& weight, const LoraArgs& args);
cudaError_t lora_low(const LoraWeight& weight, const LoraArgs& args, void* workspace,
                     cudaStream_t stream);
PackedLayer lora_layer(const LoraWeight& weight, const LoraArgs& args);

size_t lora_linear_grad_workspace(const LoraWeight& weight, const LoraGradArgs& args);
cudaError_t lora_linear_grad(const LoraWeight& weight, const LoraGradArgs& args, void* workspace,
                             cudaStream_t stream);

}  // namespace llmkit::cuda
