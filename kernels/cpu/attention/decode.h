#pragma once

#include "base/simd/axpy.h"
#include "cpu/attention/forward.h"

// A few queries and many keys: the heads of one query that share keys, one block of keys at a time,
// lanes along keys and columns. The bits are those of forward.h, whose sums have the same order.

namespace llmkit {
namespace {  // a copy per instruction set

/// Heads whose scores are made together.
constexpr size_t kDecodeHeads = 8;

/// The heads of a query that share keys, and what its block of keys is.
struct DecodeBlock {
  const AttentionArgs& p;
  size_t group, count;  // heads, keys
  int32_t first, last;  // the block's first key, the query's last
  size_t row, head;     // of the first head in q; its number
  size_t keys;          // offset of the first key in k and v

  DecodeBlock(const AttentionArgs& args, const DecodeTask& task)
      : p(args), group(args.H / args.K) {
    const size_t position = task.b * p.T + task.t;
    first = p.first[position] + static_cast<int32_t>(task.block) * kKeyBlock;
    last = p.last[position];
    const int32_t end = last < first + kKeyBlock - 1 ? last : first + kKeyBlock - 1;
    count = end < first ? 0 : static_cast<size_t>(end - first + 1);
    head = task.kv * group;
    row = position * p.H + head;
    keys = ((task.b * p.S + static_cast<size_t>(first)) * p.K + task.kv) * p.E;
  }
};

/// out[i, lanes] = sum over e, ascending, of q[i, e] · element e of the key of a lane, for kHeads
/// rows i; lanes beyond `count` repeat the last key.
template <size_t kHeads>
inline void tile_products(const DecodeBlock& block, size_t from, const float* q, float* out) {
  const size_t E = block.p.E, ld = block.p.K * E;
  const float* keys[kLanes];
  for (size_t i = 0; i < kLanes; ++i) {
    const size_t key = from + i < block.count ? from + i : block.count - 1;
    keys[i] = block.p.k + block.keys + key * ld;
  }
  Vec acc[kHeads];
  for (Vec& a : acc) a = zero();
  each_chunk(E, [&](auto c) {
    Vec columns[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) columns[i] = c.get(keys[i]);
    transpose(columns);
    for (int e = 0; e < elements(c); ++e)
#pragma GCC unroll 8
      for (size_t i = 0; i < kHeads; ++i)
        acc[i] = fma(splat(q[i * E + c.i + static_cast<size_t>(e)]), columns[e], acc[i]);
  });
  for (size_t i = 0; i < kHeads; ++i) store(out + i * kKeyBlock, acc[i]);
}

/// Products of all heads with the block's keys: out [group, kKeyBlock].
inline void decode_products(const DecodeBlock& block, const float* q, float* out) {
  const size_t E = block.p.E;
  for (size_t from = 0; from < block.count; from += kLanes) {
    size_t i = 0;
    for (; i + kDecodeHeads <= block.group; i += kDecodeHeads)
      tile_products<kDecodeHeads>(block, from, q + i * E, out + i * kKeyBlock + from);
    for (; i + 4 <= block.group; i += 4)
      tile_products<4>(block, from, q + i * E, out + i * kKeyBlock + from);
    for (; i < block.group; ++i)
      tile_products<1>(block, from, q + i * E, out + i * kKeyBlock + from);
  }
}

/// Turns the products of one head into exp(score - largest); returns the largest score.
inline float decode_weights(const DecodeBlock& block, size_t head, float* products) {
  const AttentionArgs& p = block.p;
  const Vec cap = splat(p.softcap), inverse_cap = splat(p.softcap > 0 ? 1 / p.softcap : 0);
  Vec most = splat(-__builtin_inff());
  each_chunk(block.count, [&](auto c) {
    Vec s = c.get(products);
    if (p.softcap > 0) s = mul(cap, tanh(mul(s, inverse_cap)));
    if (p.slopes != nullptr) {
      const Vec key = add(to_float(lane_numbers()),
                          splat(static_cast<float>(block.first + static_cast<int32_t>(c.i))));
      s = fma(splat(p.slopes[head]), sub(key, splat(static_cast<float>(block.last))), s);
    }
    c.put(products, s);
    most = larger(c.or_else(s, most), most);
  });
  const float largest_score = largest(most);
  const Vec shift = shift_of(splat(largest_score));
  each_chunk(block.count, [&](auto c) {
    c.put(products, exp_of_negative(sub(c.get(products), shift)));
  });
  return largest_score;
}

/// What one block adds to a query: largest scores and totals [group] each, and sums of values
/// [group, E]. scratch: group · (E + kKeyBlock) floats.
inline void decode_block(const AttentionArgs& p, const DecodeTask& task, float* part,
                         float* scratch) {
  const DecodeBlock block(p, task);
  if (block.count == 0) return;
  float *const q = scratch, *const weights = q + block.group * p.E;
  float *const most = part, *const totals = part + block.group, *const sums = totals + block.group;
  each_chunk(block.group * p.E, [&](auto c) {
    c.put(q, mul(c.get(p.q + block.row * p.E), splat(p.scale)));
  });
  decode_products(block, q, weights);
  for (size_t i = 0; i < block.group; ++i) {
    most[i] = decode_weights(block, block.head + i, weights + i * kKeyBlock);
    totals[i] = 0;
  }
  for (size_t key = 0; key < block.count; ++key)
    for (size_t i = 0; i < block.group; ++i) totals[i] += weights[i * kKeyBlock + key];
  axpy_product({block.group, p.E, block.count, weights, kKeyBlock, 1, p.v + block.keys, p.K * p.E,
                sums, p.E, false});
}

/// Puts the blocks of a query together, the first one first; `part` floats from one to the next.
inline void decode_finish(const AttentionArgs& p, const DecodeTask& task, float* parts, size_t part,
                          float* y, float* log_sum_exp) {
  const DecodeBlock query(p, task);
  const size_t group = query.group;
  const int32_t range = query.last - query.first + 1;
  for (size_t i = 0; i < group; ++i) {
    float* const out = parts + 2 * group + i * p.E;
    RunningSoftmax all = {zero(), zero()};
    if (range > 0) all = {splat(parts[i]), splat(parts[group + i])};
    for (int32_t n = 1; n * kKeyBlock < range; ++n) {
      const float* const block = parts + static_cast<size_t>(n) * part;
      const RunningSoftmax next = {splat(block[i]), splat(block[group + i])};
      const Mask none = equal(next.total, zero());
      const Rescale factors = rescale(all, next, none);
      each_chunk(p.E, [&](auto c) {
        const Vec before = c.get(out), added = c.get(block + 2 * group + i * p.E);
        c.put(out, select(none, before, fma(added, factors.block, mul(before, factors.before))));
      });
    }
    const Vec total = select(equal(all.total, zero()), splat(1), all.total);
    const Vec inverse = div(splat(1), total);
    each_chunk(p.E, [&](auto c) {
      c.put(y + (query.row + i) * p.E, range > 0 ? mul(c.get(out), inverse) : zero());
    });
    if (log_sum_exp != nullptr)
      store_partial(log_sum_exp + query.row + i, add(all.largest, log(total)), 1);
  }
}

}  // namespace
}  // namespace llmkit
