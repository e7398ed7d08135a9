#pragma once

#include "cuda/base/id_report.h"
#include "cuda/cross_entropy/head.h"

namespace llmkit::cuda {

/// losses[r] = logsumexp(logits[r]) - logits[r, targets[r]]; target -1 gives loss 0, log_sum_exp 0
/// and no gradient, one that is no word NaN. Logits are made for some rows at a time and not kept.
/// A row's bits do not depend on the others.
struct CrossEntropyArgs {
  size_t m = 0;
  const float* h = nullptr;  // [m, head.cols]
  Head head;
  const int32_t* targets = nullptr;  // [m], -1 or below head.words
  /// Rows whose logits there are at a time have so many in all, but at least 64 rows. 128 MB are
  /// enough for the products to be bound by arithmetic.
  size_t most_logits = size_t{1} << 25;
  IdReport* report = nullptr;  // told of a target that is neither -1 nor a word, with its loss
};

size_t cross_entropy_workspace(const CrossEntropyArgs& args);
cudaError_t cross_entropy(const CrossEntropyArgs& args, float* losses, float* log_sum_exp,
                          void* workspace, cudaStream_t stream);

struct CrossEntropyGradArgs {
  const float* log_sum_exp = nullptr;  // [m], of cross_entropy
  const float* dlosses = nullptr;      // [m]
  float* dh = nullptr;                 // [m, cols]
  float* dweight = nullptr;            // [words, cols] of a float32 weight, or null: not wanted
  float* dbias = nullptr;              // [words] or null
};
size_t cross_entropy_grad_workspace(const CrossEntropyArgs& args, const CrossEntropyGradArgs& grad);
cudaError_t cross_entropy_grad(const CrossEntropyArgs& args, const CrossEntropyGradArgs& grad,
                               void* workspace, cudaStream_t stream);

}  // namespace llmkit::cuda
