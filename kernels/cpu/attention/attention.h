#pragma once

#include <cstddef>
#include <cstdint>

namespace llmkit {

/// Attention of B sequences, T queries, S keys, H heads sharing K key/value heads, E values a head
/// (legend of README.md). For query t of head h, over keys j in [first, last]:
///   s_j = scale · q·k_j; soft-capped, cap · tanh(s_j / cap), when softcap > 0;
///         + slopes[h] · (j - last) when there are slopes (https://arxiv.org/abs/2108.12409)
///   y = sum of softmax(s)_j v_j, and zeros when last < first
/// Keys outside the range are not read. A query's bits depend on its keys only: sums run from
/// `first` upward whatever the batch, T and S.
struct AttentionArgs {
  size_t B, T, S, H, K, E;  // H a multiple of K
  const float* q;           // [B, T, H, E]
  const float* k;           // [B, S, K, E]
  const float* v;
  const int32_t* first;  // [B, T], within [0, S)
  const int32_t* last;
  const float* slopes;  // [H] or null
  float scale, softcap;
};

/// log_sum_exp [B, T, H] may be null; the gradient needs it.
void attention(const AttentionArgs& args, float* y, float* log_sum_exp);

struct AttentionGradArgs {
  const float* y;  // [B, T, H, E]
  const float* log_sum_exp;
  const float* dy;
  float* dq;  // [B, T, H, E]
  float* dk;  // [B, S, K, E]
  float* dv;
};
void attention_grad(const AttentionArgs& args, const AttentionGradArgs& grad);

/// Rows of one key/value head: row r is query r / (H / K), head r mod (H / K) of its group.
struct AttentionTask {
  size_t b, kv, begin, end;
};
/// Rows whose scores are held at a time.
constexpr size_t kQueryRows = 12, kGradRows = 48, kGradKeys = 64;

/// On one thread. scratch: kQueryRows (2 S + 3 E) floats; for grad_keys 3 kGradRows (E +
/// kGradKeys).
struct AttentionKernels {
  void (*forward)(const AttentionArgs& args, const AttentionTask& rows, float* y,
                  float* log_sum_exp, float* scratch);
  void (*grad_query)(const AttentionArgs& args, const AttentionGradArgs& grad,
                     const AttentionTask& rows, float* scratch);
  /// begin and end are keys, at most kGradKeys of them.
  void (*grad_keys)(const AttentionArgs& args, const AttentionGradArgs& grad,
                    const AttentionTask& keys, float* scratch);
};

#define ATTENTION_KERNELS(isa, name) extern const AttentionKernels name;
#include "cpu/attention/kernels.inc"
#undef ATTENTION_KERNELS

}  // namespace llmkit
