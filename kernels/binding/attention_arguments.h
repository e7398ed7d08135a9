#pragma once

#include <string>

#include "binding/arguments.h"
#include "cpu/attention/attention.h"

// What attention and the cache of its keys and values are called with, on every device.

namespace llmkit::binding {

/// q, k, v, first, last and alibiSlopes at 0, and shape, scale and softcap from `shape_index` on.
inline AttentionArgs attention_arguments(const Arguments& args, size_t shape_index) {
  AttentionArgs p;
  const Napi::Value value = args.value(shape_index);
  if (!value.IsArray()) args.type_error("shape must be an array");
  const Napi::Array shape = value.As<Napi::Array>();
  size_t* const sizes[] = {&p.B, &p.T, &p.S, &p.H, &p.K, &p.E};
  for (uint32_t i = 0; i < 6; ++i) {
    const int64_t size = shape.Get(i).ToNumber().Int64Value();
    if (size < (i < 3 ? 0 : 1) || size > 0x7fffffff) args.range_error("a size is out of range");
    *sizes[i] = static_cast<size_t>(size);
  }
  if (p.H % p.K != 0) args.range_error("heads must be a multiple of key/value heads");
  const size_t keys = args.product({p.B, p.S, p.K, p.E});
  p.q = args.elements(0, args.product({p.B, p.T, p.H, p.E}), "q");
  p.k = args.elements(1, keys, "k");
  p.v = args.elements(2, keys, "v");
  p.first = args.ints(3, p.B * p.T, "first").data;
  p.last = args.ints(4, p.B * p.T, "last").data;
  p.slopes = args.optional_floats(5, p.H, "alibiSlopes").data;
  p.scale = args.real(shape_index + 1);
  p.softcap = args.real(shape_index + 2);
  return p;
}

/// What the gradient is called with besides: y, logSumExp, dy, dq, dk and dv from 6 on.
inline AttentionGradArgs attention_grad_arguments(const Arguments& args, const AttentionArgs& p) {
  const size_t queries = p.B * p.T * p.H * p.E, keys = p.B * p.S * p.K * p.E;
  AttentionGradArgs grad;
  grad.y = args.elements(6, queries, "y");
  grad.log_sum_exp = args.floats(7, p.B * p.T * p.H, "logSumExp").data;
  grad.dy = args.floats(8, queries, "dy").data;
  grad.dq = args.floats(9, queries, "dq").data;
  grad.dk = args.floats(10, keys, "dk").data;
  grad.dv = args.floats(11, keys, "dv").data;
  return grad;
}

/// createKvCache(rows, heads, headSize, dtype); `type` is the place in kKvTypeNames.
struct CacheShape {
  size_t rows, heads, head_size, type;
};
constexpr const char* kKvTypeNames[] = {"f32", "bf16", "int8"};

inline CacheShape cache_shape(const Arguments& args) {
  constexpr size_t kMostRows = 1 << 20, kMostHeads = 1 << 16;
  const CacheShape shape = {args.size(0, "rows"), args.positive(1, "heads"),
                            args.positive(2, "headSize"), args.choice(3, kKvTypeNames)};
  if (shape.rows > kMostRows || shape.heads > kMostHeads || shape.head_size > kMostHeads)
    args.range_error("a size is out of range");
  return shape;
}

/// selectKvRows(cache, indices): which of so many rows.
inline Ints row_indices(const Arguments& args, size_t rows) {
  const Ints indices = args.host_ints(1);
  for (size_t i = 0; i < indices.size; ++i)
    if (indices.data[i] < 0 || static_cast<size_t>(indices.data[i]) >= rows)
      args.range_error("there is no row " + std::to_string(indices.data[i]));
  return indices;
}

/// The shape of cachedAttention must be that of its cache.
inline void expect_cache(const Arguments& args, const AttentionArgs& p, const CacheShape& cache) {
  if (p.S != p.T || p.K != cache.heads || p.E != cache.head_size)
    args.range_error("the shape is not that of the cache");
  args.expect(p.B, cache.rows, "rows");
}

/// cos and sin of cachedAttention, at 9 and 10.
struct TurnArguments {
  const float* cos = nullptr;
  const float* sin = nullptr;
  size_t half = 0;
};
inline TurnArguments turn_arguments(const Arguments& args, const AttentionArgs& p) {
  TurnArguments turn;
  if (args.value(9).IsNull() || p.B * p.T == 0) return turn;
  const Floats cos = args.floats(9);
  turn.half = args.quotient(cos.size, p.B * p.T, "cos");
  if (2 * turn.half > p.E) args.range_error("cos is wider than half a head");
  turn.cos = cos.data;
  turn.sin = args.floats(10, cos.size, "sin").data;
  return turn;
}

}  // namespace llmkit::binding
