#pragma once

#include <cstddef>
#include <cstdint>

#include "base/packed_weight.h"
#include "base/weight_view.h"

namespace llmkit {

/// losses[m] = logsumexp(logits[m]) - logits[m, target], logits = h · weightᵀ + bias, made in
/// chunks of kLossChunk words; target -1 gives loss 0 and log_sum_exp 0. greedy[m], where wanted,
/// is 1 where the target is the first of the largest logits, else 0. A row's bits do not depend on
/// the others.
struct CrossEntropyArgs {
  size_t m;
  const float* h;     // [m, weight.cols]
  WeightView weight;  // [V, cols]
  const float* bias;  // [V] or null
  const int32_t* targets;
  /// The weight packed: the products are then in its compute type, those of the gradients in bf16.
  const PackedWeight* packed = nullptr;
};
void cross_entropy(const CrossEntropyArgs& args, float* losses, float* log_sum_exp,
                   int32_t* greedy = nullptr);

struct CrossEntropyGradArgs {
  const float* log_sum_exp;
  const float* dlosses;
  float* dh;
  float* dweight;  // [V, cols] or null: not wanted
  float* dbias;    // [V] or null
};
void cross_entropy_grad(const CrossEntropyArgs& args, const CrossEntropyGradArgs& grad);

constexpr size_t kLossChunk = 512;

/// Rows of n <= kLossChunk logits that are `ld` apart.
struct LogitChunk {
  size_t rows, n, ld;
  float* logits;
};
struct CrossEntropyKernels {
  /// Of each row, the largest logit and the sum of e^(logit - largest).
  void (*sums)(const LogitChunk& chunk, float* largest, float* sums);
  /// log_sum_exp[r] from largest and sums [chunks, stride] of `rows` columns, chunks ascending.
  void (*combine)(size_t chunks, size_t stride, size_t rows, const float* largest,
                  const float* sums, float* log_sum_exp);
  /// logit = (e^(logit - log_sum_exp) - [it is the target]) · dloss; the target counts from the
  /// chunk's first word and may be outside.
  void (*gradient)(const LogitChunk& chunk, const float* log_sum_exp, const float* dlosses,
                   const int64_t* targets);
};

#define CROSS_ENTROPY_KERNELS(isa, name) extern const CrossEntropyKernels name;
#include "cpu/cross_entropy/kernels.inc"
#undef CROSS_ENTROPY_KERNELS

}  // namespace llmkit
