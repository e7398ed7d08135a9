#pragma once

#include <cstddef>
#include <cstdint>

#include "base/elements.h"
#include "cpu/attention/page_layout.h"

namespace llmkit {

/// Attention of B sequences, T queries, S keys, H heads sharing K key/value heads, E values a head
/// (legend of README.md). For query t of head h, over keys j in [first, last]:
///   s_j = (scale · q)·k_j; soft-capped, cap · tanh(s_j / cap), when softcap > 0;
///         + slopes[h] · (j - last) when there are slopes (https://arxiv.org/abs/2108.12409)
///   y = sum of softmax(s)_j v_j, and zeros when last < first
/// Keys outside the range do not matter. A query's bits depend on its keys only: a score is one
/// chain of multiply-adds, e ascending; the sums of exp(s_j - largest) and of weighted values are
/// chains, j ascending, over kKeyBlock keys counted from `first`; such blocks are then put on one
/// scale and added, the first one first.
struct AttentionArgs {
  size_t B, T, S, H, K, E;  // H a multiple of K
  ConstElements q;          // [B, T, H, E]
  ConstElements k;          // [B, S, K, E]
  ConstElements v;
  const int32_t* first;  // [B, T], within [0, S)
  const int32_t* last;
  const float* slopes;  // [H] or null
  float scale, softcap;
  /// Products may be of bf16, as attention_bf16.h says, where there are instructions for it.
  bool rounded = false;
};

/// log_sum_exp [B, T, H] may be null; the gradient needs it.
void attention(const AttentionArgs& args, const Elements& y, float* log_sum_exp);

struct AttentionGradArgs {
  ConstElements y;  // [B, T, H, E]
  const float* log_sum_exp;
  const float* dy;
  float* dq;  // [B, T, H, E]
  float* dk;  // [B, S, K, E]
  float* dv;
};
void attention_grad(const AttentionArgs& args, const AttentionGradArgs& grad);

class KvCache;

/// What is new in the rows of a cache: T keys and values each, the first one at positions[b].
struct CacheStep {
  const int32_t* positions;  // [B]
  /// Rotary angles [B, T, half] by which q and k are turned (rope.h); null without.
  const float* cos;
  const float* sin;
  size_t half;
};

/// Turns q and k, writes k and v [B, T, K, E] into the cache, and attends to all of it: S of `args`
/// is T; first and last are within [0, positions[b] + T). The bits are those of rope() and of
/// attention() to the keys and values as the cache's type rounds them. q, k and v are float32.
/// @returns false when there is no memory for the cache
bool cached_attention(const AttentionArgs& args, const CacheStep& step, KvCache& cache, float* y);

/// Keys that are added up at a time; it does not depend on the machine.
constexpr int32_t kKeyBlock = 128;

/// Rows of one key/value head: row r is query r / (H / K), head r mod (H / K) of its group.
struct AttentionTask {
  size_t b, kv, begin, end;
};
constexpr size_t kTaskRows = 48;

/// Block `block` of kKeyBlock keys, counted from its first, of a query of one key/value head, and
/// where the keys lie that the thread probably reads next, to ask for them (null: nowhere).
struct DecodeTask {
  size_t b, t, kv, block;
  const uint8_t* next;
};

/// A head's keys and values in pages of float32 (page_layout.h): pointers to each page.
struct AttentionPages {
  const float* const* keys;         // tiles
  const float* const* values;       // columns; for a gradient those of the keys
  const float* const* value_tiles;  // for a gradient only
};

/// The gradient of some rows as far as every splits-th block of kGradKeys keys goes, from block
/// `split` on: all there is of those keys' dk and dv, and a part of dq.
struct AttentionGradTask {
  AttentionTask rows;  // in turn: those of 0 come first, and set dk and dv
  size_t split, splits;
  float* dq;  // [rows, E]
};
constexpr size_t kGradKeys = 64;

/// On one thread; what the arguments hold is float32.
struct AttentionKernels {
  /// Floats of scratch for heads of E values.
  size_t (*scratch_size)(size_t E);
  /// Packs `count` <= kPageKeys rows of x, `ld` apart, into a page of tiles or columns.
  void (*pack_tiles)(const float* x, size_t ld, size_t count, size_t E, float* page);
  void (*pack_columns)(const float* x, size_t ld, size_t count, size_t E, float* page);
  /// Writes a key and a value [E] into their head's part of a page, as its key number `key`.
  void (*write)(const PageLayout& layout, const float* key_row, const float* value_row, size_t key,
                uint8_t* page);
  /// The same part as float32: tiles [kPageKeys, E] and columns [kPageKeys, padded E].
  void (*restore)(const PageLayout& layout, uint8_t* page, float* tiles, float* columns);
  void (*forward)(const AttentionArgs& args, const AttentionPages& pages, const AttentionTask& rows,
                  float* y, float* log_sum_exp, float* scratch);
  /// Floats of a block's part of a query, and of scratch for making it.
  size_t (*part_size)(size_t group, size_t E);
  size_t (*decode_scratch)(size_t group, size_t E);
  /// A block's part of a query, and the query from its parts, `part` floats apart.
  void (*decode_block)(const AttentionArgs& args, const StoredPages& pages, const DecodeTask& task,
                       float* part, float* scratch);
  void (*decode_finish)(const AttentionArgs& args, const DecodeTask& task, float* parts, float* y);
  void (*grad)(const AttentionArgs& args, const AttentionGradArgs& grad,
               const AttentionPages& pages, const AttentionGradTask& task, float* scratch);
};

#define ATTENTION_KERNELS(isa, name) extern const AttentionKernels name;
#include "cpu/attention/kernels.inc"
#undef ATTENTION_KERNELS

}  // namespace llmkit
