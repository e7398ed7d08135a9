#pragma once

#include "base/weight_view.h"
#include "cuda/packed/packed.h"

namespace llmkit::cuda {

/// An output projection, logits = h · weightᵀ + bias, in one of three arithmetics.
struct Head {
  /// [words, cols], device pointers. Products are in float32 unless the weight is `packed` or it is
  /// plain float32 and `rounded`: then they are in bf16 with float32 sums.
  WeightView weight;
  const PackedWeight* packed = nullptr;
  bool rounded = false;
  const float* bias = nullptr;  // [words] or null

  size_t words() const { return weight.rows; }
  size_t cols() const { return weight.cols; }
};

/// m rows of h and of the logits or their gradient. A row of what is made of it has the same bits
/// whatever m is.
struct HeadRows {
  size_t m = 0;
  const float* h = nullptr;  // [m, cols]
  float* logits = nullptr;   // [m, words]
};

/// Bytes that the functions below work in, for up to m rows at a time; `trained` with the gradient
/// of the weight.
size_t head_workspace(const Head& head, size_t m, bool trained);

/// Queued once before the products, which then find what they need of the weight in the workspace;
/// m as for its size.
cudaError_t prepare_head(const Head& head, size_t m, void* workspace, cudaStream_t stream);

/// Fills the logits.
cudaError_t head_logits(const Head& head, const HeadRows& rows, void* workspace,
                        cudaStream_t stream);

/// dh [m, cols] = dlogits · weight
cudaError_t head_grad_input(const Head& head, const HeadRows& rows, float* dh, void* workspace,
                            cudaStream_t stream);

/// dweight [words, cols] = dlogitsᵀ · h, added to what is there with `more`. The weight is plain
/// float32.
cudaError_t head_grad_weight(const Head& head, const HeadRows& rows, bool more, float* dweight,
                             void* workspace, cudaStream_t stream);

}  // namespace llmkit::cuda
