#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/attention/attention.h"

namespace llmkit {

/// attention() and attention_grad() with what is multiplied rounded to bf16: q, k, v and the
/// weights of the softmax before they are divided by their sum, in the gradient dy and the scores'
/// gradients. Scores, the softmax and all sums are in float32. Where a value of v is not finite as
/// bf16, the queries that see it get NaN; in the gradient one of q, k, v or dy makes NaN of its
/// query, or of those that see its key, and of the keys that these see. Nothing else changes by a
/// bit.
///
/// Keys are added up in blocks of kRoundedKeys, counted from the first key of the query's sequence:
/// `first` of the closest query before it, or its own, that sees no key of the query before that
/// one, or begins before that sequence does. So a query's bits depend on its keys and their
/// distance from the start of the sequence only.
void attention_bf16(const AttentionArgs& args, const Elements& y, float* log_sum_exp);
void attention_grad_bf16(const AttentionArgs& args, const AttentionGradArgs& grad);

/// Whether there are instructions for it here.
bool has_attention_bf16();

constexpr size_t kRoundedKeys = 64;
/// Query rows of a task: those of one key/value head, in the order of AttentionTask.
constexpr size_t kRoundedRows = 64;

/// A head's values as products take them: a multiple of 32.
inline size_t rounded_size(size_t E) { return (E + 31) / 32 * 32; }

/// Queries [begin, end) of sequence b and the keys [key_begin, key_end) that they see.
struct AttentionSegment {
  size_t b, begin, end;
  size_t key_begin, key_end;

  size_t keys() const { return key_end - key_begin; }
  /// Filled up to whole blocks.
  size_t padded_keys() const { return (keys() + kRoundedKeys - 1) / kRoundedKeys * kRoundedKeys; }
};
std::vector<AttentionSegment> attention_segments(const AttentionArgs& args);

/// A segment's keys and values of one key/value head in bf16, zeros after the last one.
struct RoundedHead {
  AttentionSegment segment;
  size_t kv;
  const uint16_t* key_rows;       // [padded keys, rounded E]
  const uint16_t* value_columns;  // [block][rounded E][kRoundedKeys]; only forward
  const uint16_t* value_rows;     // as key_rows; for the gradient, like all that follows
  const uint16_t* key_columns;    // as value_columns
  float *dk, *dv;                 // [padded keys, rounded E]: sums so far
};

/// The gradient of query rows [begin, end), as far as every splits-th block of keys goes, from
/// block `split` on.
struct RoundedGradTask {
  size_t begin, end;
  size_t split, splits;
  float* dq;  // [rows, E], or null: into the result itself
};

/// On one thread.
struct AttentionBf16Kernels {
  /// Floats of scratch for heads of E values.
  size_t (*scratch_size)(size_t E);
  /// A block of at most kRoundedKeys rows of x, `ld` apart, as rows or as columns of a RoundedHead.
  void (*pack_rows)(const ConstElements& x, size_t ld, size_t count, size_t E, uint16_t* block);
  /// Columns have zeros where bf16 cannot hold a value, for a weight of 0 does not take NaN out of
  /// a product; the key's row of `marked`, rows packed before, gets NaN instead.
  void (*pack_columns)(const ConstElements& x, size_t ld, size_t count, size_t E, uint16_t* block,
                       uint16_t* marked);
  void (*forward)(const AttentionArgs& args, const RoundedHead& head, const AttentionTask& rows,
                  const Elements& y, float* log_sum_exp, float* scratch);
  void (*grad)(const AttentionArgs& args, const AttentionGradArgs& grad, const RoundedHead& head,
               const RoundedGradTask& task, float* scratch);
};

#define ATTENTION_BF16_KERNELS(isa, name) extern const AttentionBf16Kernels name;
#include "cpu/attention_bf16/kernels.inc"
#undef ATTENTION_BF16_KERNELS

}  // namespace llmkit
