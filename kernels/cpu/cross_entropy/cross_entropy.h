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
  /// With a packed weight: kept_loss_floats(m, V) floats that the call fills and its gradient reads
  /// then instead of making the logits again, with the same bits; or null.
  float* kept = nullptr;
};
void cross_entropy(const CrossEntropyArgs& args, float* losses, float* log_sum_exp,
                   int32_t* greedy = nullptr);

/// What a gradient is saved the logits for: 0 where they are too large to be kept.
size_t kept_loss_floats(size_t m, size_t words);

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
/// Of each row of a chunk, the largest logit, the sum of e^(logit - largest), and where wanted
/// these numbers rounded to bf16, rows `ld` apart.
struct ChunkSums {
  float *largest, *sums;
  uint16_t* exponentials;
  size_t ld;
};
/// Rows of n words, chunk by chunk: numbers in bf16 as above, the largest logits [chunks, stride]
/// and what they become, which may lie in the same place.
struct ChunkGradient {
  size_t rows, n, ld;
  const uint16_t* exponentials;
  const float* largest;
  size_t stride;
  uint16_t* dlogits;
  size_t ld_out;
};
/// Of each row.
struct LossRows {
  const float *losses, *log_sum_exp, *dlosses;
  /// Counted from the first word here; may be outside.
  const int64_t* targets;
};
struct CrossEntropyKernels {
  void (*sums)(const LogitChunk& chunk, const ChunkSums& sums);
  /// log_sum_exp[r] from largest and sums [chunks, stride] of `rows` columns, chunks ascending.
  void (*combine)(size_t chunks, size_t stride, size_t rows, const float* largest,
                  const float* sums, float* log_sum_exp);
  /// logit = (e^(logit - log_sum_exp) - [it is the target]) · dloss
  void (*gradient)(const LogitChunk& chunk, const LossRows& rows);
  /// dlogit = exponential · (e^(largest - log_sum_exp) · dloss), or (e^-loss - 1) · dloss if it is
  /// the target, rounded to bf16
  void (*rounded_gradient)(const ChunkGradient& chunk, const LossRows& rows);
  /// sums[n] (+)= the sum of the rows of [m, n] values
  void (*add_rows)(size_t m, size_t n, const uint16_t* values, size_t ld, bool accumulate,
                   float* sums);
};

#define CROSS_ENTROPY_KERNELS(isa, name) extern const CrossEntropyKernels name;
#include "cpu/cross_entropy/kernels.inc"
#undef CROSS_ENTROPY_KERNELS

}  // namespace llmkit
