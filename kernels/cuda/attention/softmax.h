#pragma once

#include "cuda/attention/query_rows.h"
#include "cuda/base/instructions.h"

// A softmax whose blocks of keys come one by one. Rounded kernels have scores in units of log 2, so
// that weights are powers of 2; the others are exact to float32.

namespace llmkit::cuda {

constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

template <bool kRounded>
__device__ __forceinline__ float power(float x) {
  return kRounded ? power_of_2(x) : expf(x);
}

/// The largest score so far, and the sum of power(score - largest).
struct Softmax {
  float largest, total;
};
__device__ __forceinline__ Softmax empty_softmax() { return {-INFINITY, 0}; }

/// What is subtracted before the power is taken: the largest score, or 0 where there is none.
__device__ __forceinline__ float shift_of(float largest) {
  return largest == -INFINITY ? 0.0f : largest;
}

/// Factors of what is known so far and of the next block, as both are put on one scale: a sum
/// becomes fma(sum of the block, block, sum · before).
struct Rescale {
  float before, block;
};
template <bool kRounded>
__device__ __forceinline__ Rescale add_block(Softmax& all, const Softmax& block) {
  const float most = fmaxf(all.largest, block.largest), shift = shift_of(most);
  const Rescale factors = {power<kRounded>(all.largest - shift),
                           power<kRounded>(block.largest - shift)};
  all.largest = most;
  all.total = fmaf(block.total, factors.block, all.total * factors.before);
  return factors;
}

/// What the sums of weighted values are multiplied by in the end.
template <bool kRounded>
__device__ __forceinline__ float inverse_total(const Softmax& all) {
  const float total = all.total == 0 ? 1.0f : all.total;
  return kRounded ? __fdividef(1.0f, total) : 1 / total;
}
/// The logarithm of the sum of all exp(score), 0 where nothing is seen.
template <bool kRounded>
__device__ __forceinline__ float log_of_sum(const Softmax& all) {
  if (all.total == 0) return 0;
  return kRounded ? fmaf(all.largest, kLn2, logf(all.total)) : all.largest + logf(all.total);
}

/// What each block of keys makes of each query, to be put together by combine_parts(): blocks are
/// counted from key 0.
struct Parts {
  float* values;       // [B, T, H, blocks, E]
  Softmax* softmaxes;  // [B, T, H, blocks]
  int blocks;

  __device__ size_t at(size_t query, int block) const {
    return query * static_cast<size_t>(blocks) + block;
  }
};

}  // namespace llmkit::cuda
