#pragma once

#include "cuda/attention/softmax.h"

// The parts of attention, launched one by one; attention.cu and attention_grad.cu put them
// together. p.q [B, T, H, E] belongs to K key/value heads.

namespace llmkit::cuda {

/// Attention in one pass over the keys of each query: rounded, of keys and values that are bf16
/// rows, or exact to float32, of any.
cudaError_t attend_rounded(const AttentionParams& p, size_t B, size_t K, const Elements& y,
                           float* log_sum_exp, cudaStream_t stream);
/// Whether there are kernels of products of warpgroups for the heads.
inline bool has_group_kernels(const AttentionArgs& args) {
  return args.rounded && (args.E == 64 || args.E == 128);
}
/// The same as attend_rounded by products of warpgroups, of heads of 64 or 128 values, where the
/// chip has them; whether there are rows enough for it to be faster.
cudaError_t attend_by_groups(const AttentionParams& p, size_t B, size_t K, const Elements& y,
                             float* log_sum_exp, cudaStream_t stream);
bool prefers_groups(const AttentionParams& p);
cudaError_t attend_exact(const AttentionParams& p, size_t B, size_t K, float* y, float* log_sum_exp,
                         cudaStream_t stream);

/// The same cut into parts, for few queries and many keys of any type. All sequences start at key
/// 0.
cudaError_t rounded_parts(const AttentionParams& p, const Parts& parts, size_t B, size_t K,
                          cudaStream_t stream);
cudaError_t exact_parts(const AttentionParams& p, const Parts& parts, size_t B, size_t K,
                        cudaStream_t stream);
cudaError_t combine_parts(const AttentionParams& p, const Parts& parts, size_t B, bool rounded,
                          const Elements& y, float* log_sum_exp, cudaStream_t stream);

/// Whether x is finite as bf16, too.
__device__ __forceinline__ bool is_finite_bf16(float x) { return fabsf(x) < 0x1.ffp127f; }

/// Rows as bf16: where they go, and what they are multiplied by.
struct RoundedRows {
  bf16* rows;  // [batch, heads, count, width]
  size_t batch, heads, count, width;
  const int32_t* positions;  // rows from positions[b] + T on are left out; null: none is
  size_t T;
  float factor;
  /// For rows that are multiplied by weights. A weight of 0 does not take a value that is not
  /// finite out of a product, so such a one becomes 0, and what says so instead is NaN: the same
  /// row of `marked`, rounded before, or where that is null something of the caller's.
  bool only_finite = false;
  bf16* marked = nullptr;

  size_t bytes() const { return batch * heads * count * width * sizeof(bf16); }
  KeyRows view() const { return bf16_rows(rows, heads, count, width); }
};
cudaError_t round_rows(const KeyRows& rows, const RoundedRows& to, cudaStream_t stream);

/// starts [B, T]: the first key of each query's sequence, by the rule of attention.h.
cudaError_t find_starts(const int32_t* first, const int32_t* last, size_t B, size_t T,
                        int32_t* starts, cudaStream_t stream);

/// Turns q into `turned` [B, T, H, E] and k, and writes k and v [B, T, K, E] into the pages.
cudaError_t append_keys(const AttentionArgs& args, const CacheStep& step, const CachePages& pages,
                        float* turned, cudaStream_t stream);

}  // namespace llmkit::cuda
