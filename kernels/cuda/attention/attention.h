#pragma once

#include "cuda/attention/key_rows.h"
#include "cuda/base/cuda.h"
#include "cuda/warpgroups/warpgroups.h"

namespace llmkit::cuda {

/// Attention of B sequences, T queries, S keys, H heads sharing K key/value heads, E <=
/// kMostHeadSize values a head: the formula of cpu/attention/attention.h over device memory.
///
/// Scores and sums are float32. With `rounded`, what is multiplied is rounded to bf16 for the
/// tensor cores: q, k, v and the weights of the softmax, and in the gradient dy and the scores'
/// gradients. Where a value of v is not finite as bf16, the queries that see it get NaN; in the
/// gradient one of q, k, v or dy makes NaN of its query, or of those that see its key, and of the
/// keys that these see. Nothing else changes by a bit.
///
/// The order of sums: keys are cut into blocks of kBlockKeys, counted from the first key of the
/// query's sequence: key 0, or `first` of the closest query before it, or its own, that sees no key
/// of the query before that one. Each block has its own softmax; the blocks are then put on one
/// scale and added, the first one first. So a query's bits depend on its keys and their distance
/// from the start of the sequence only.
struct AttentionArgs {
  size_t B, T, S, H, K, E;  // H a multiple of K
  ConstElements q;          // [B, T, H, E]; all three float32 unless `rounded`
  ConstElements k;          // [B, S, K, E]
  ConstElements v;
  const int32_t* first;  // [B, T]; what lies outside [0, S) is not seen
  const int32_t* last;   // last < first sees nothing and gives zeros
  const float* slopes;   // [H] or null
  float scale, softcap;  // softcap 0: none
  bool rounded;
  /// With `rounded`, for heads of 64 and 128 values; others are made by mma.sync, and the gradient,
  /// which has no few rows to agree with, by what is fastest.
  Instructions instructions = Instructions::kWarps;
};

/// Bytes of workspace for attention().
size_t attention_workspace(const AttentionArgs& args);
/// @param y [B, T, H, E]; float32 unless `rounded`
/// @param log_sum_exp [B, T, H] or null; the gradient needs it
cudaError_t attention(const AttentionArgs& args, const Elements& y, float* log_sum_exp,
                      void* workspace, cudaStream_t stream);

struct AttentionGradArgs {
  ConstElements y;  // [B, T, H, E]
  const float* log_sum_exp;
  const float* dy;
  float* dq;  // [B, T, H, E]
  float* dk;  // [B, S, K, E]
  float* dv;
};
size_t attention_grad_workspace(const AttentionArgs& args);
/// Every output is summed up by one block, queries and keys ascending: no atomics.
cudaError_t attention_grad(const AttentionArgs& args, const AttentionGradArgs& grad,
                           void* workspace, cudaStream_t stream);

/// What is new in the rows of a cache: T keys and values each, the first one at positions[b].
struct CacheStep {
  const int32_t* positions;  // [B], on the device
  /// Rotary angles [B, T, half] by which q and k are turned (rope); null without.
  const float* cos;
  const float* sin;
  size_t half;
};

/// Pages of a cache as kernels see them.
struct CachePages {
  PageLayout layout;
  /// On the device, [B, pages_per_row]: where the pages of each row are. A row has the pages of all
  /// keys below positions[b] + T, and no other row has those from positions[b] on.
  uint8_t* const* table;
  size_t pages_per_row;
  /// Keys that a row holds after the step at most, for the size of the grid: positions[b] + T is
  /// not above it. It does not change the results.
  size_t most_keys;
};

size_t cached_attention_workspace(const AttentionArgs& args, const CachePages& pages);
/// Turns q and k, writes k and v [B, T, K, E] into the pages, and attends to all of them: S of
/// `args` is T. The bits are those of rope() and of attention() to the keys and values as the
/// cache's type rounds them. q, k and v are float32. Positions are read on the device: nothing here
/// depends on them.
cudaError_t cached_attention(const AttentionArgs& args, const CacheStep& step,
                             const CachePages& pages, float* y, void* workspace,
                             cudaStream_t stream);

}  // namespace llmkit::cuda
