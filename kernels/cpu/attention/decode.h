#pragma once

#include "cpu/attention/codes.h"
#include "cpu/attention/forward.h"

// A few queries and many keys: the heads of one query that share keys, one block of keys at a time,
// lanes along keys and columns, from the pages of a cache as they are. The bits are those of
// forward.h, whose sums have the same order.

namespace llmkit {
namespace {  // a copy per instruction set

/// Heads, and tiles of keys or chunks of columns, that are worked on together.
constexpr int kDecodeHeads = kSplats, kDecodeVecs = kRowVecs > 1 ? 2 : 1;
/// Keys of the tiles that a block of keys lies in, rounded up to whole steps.
constexpr size_t kDecodeKeys = kKeyBlock + 2 * kTileKeys;

/// A part: the largest scores [group], the totals [group], sums of values [group, padded E].
inline size_t part_size(size_t group, size_t E) { return group * (padded(E) + 2); }
/// Queries [group, E] and their products with keys [group, kDecodeKeys].
inline size_t decode_scratch(size_t group, size_t E) { return group * (E + kDecodeKeys); }

/// The heads of a query that share keys, and what its block of keys is.
struct DecodeBlock {
  const AttentionArgs& p;
  size_t group, count;  // heads, keys
  int32_t first, last;  // the block's first key, the query's last
  size_t row, head;     // of the first head in q; its number
  const uint8_t* next;  // as the task's

  DecodeBlock(const AttentionArgs& args, const DecodeTask& task)
      : p(args), group(args.H / args.K), next(task.next) {
    const size_t position = task.b * p.T + task.t;
    first = p.first[position] + static_cast<int32_t>(task.block) * kKeyBlock;
    last = p.last[position];
    const int32_t end = last < first + kKeyBlock - 1 ? last : first + kKeyBlock - 1;
    count = end < first ? 0 : static_cast<size_t>(end - first + 1);
    head = task.kv * group;
    row = position * p.H + head;
  }

  size_t begin() const { return static_cast<size_t>(first); }
  size_t end() const { return begin() + count; }
  /// The first key of the first key's tile: products begin with it.
  size_t base() const { return begin() - begin() % kTileKeys; }
};

/// A head's part of the page with this key.
template <typename Code>
inline HeadPage<Code> page_of(const StoredPages& stored, size_t E, size_t key) {
  return {{E, stored.type}, stored.pages[key / kPageKeys] + stored.at};
}

/// out[i, lanes] = sum over e, ascending, of q[i, e] · element e of the key of a lane, for kHeads
/// rows i and kTiles tiles from the one that begins with `key`.
template <typename Code, int kHeads, int kTiles>
inline void tile_products(const StoredPages& stored, size_t E, size_t key, const float* q,
                          float* out) {
  const Code *tiles[kTiles], *values[kTiles];
  Vec scales[kTiles], acc[kHeads][kTiles];
#pragma GCC unroll 2
  for (int t = 0; t < kTiles; ++t) {
    const size_t from = key + static_cast<size_t>(t) * kTileKeys;
    const HeadPage<Code> page = page_of<Code>(stored, E, from);
    tiles[t] = page.tile(from % kPageKeys, E);
    values[t] = page.column(0, from % kPageKeys);
    scales[t] = kScaled<Code> ? load(page.key_scales + from % kPageKeys) : zero();
  }
#pragma GCC unroll 8
  for (int i = 0; i < kHeads; ++i)
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) acc[i][t] = zero();
  for (size_t e = 0; e < E; ++e) {
    Vec keys[kTiles];
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) {
      keys[t] = load_values(tiles[t] + e * kTileKeys, scales[t]);
      // The values of the same keys come next: 16 columns of all of them, then the next 16.
      __builtin_prefetch(values[t] + (e / kLanes * kPageKeys + e % kLanes) * kLanes, 0, 2);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kHeads; ++i) {
      const Vec query = splat(q[static_cast<size_t>(i) * E + e]);
#pragma GCC unroll 2
      for (int t = 0; t < kTiles; ++t) acc[i][t] = fma(query, keys[t], acc[i][t]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kHeads; ++i)
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) store(out + i * kDecodeKeys + t * kLanes, acc[i][t]);
}

/// Products of all heads with the tiles that the block's keys lie in: out [group, kDecodeKeys].
template <typename Code>
inline void decode_products(const DecodeBlock& block, const StoredPages& stored, const float* q,
                            float* out) {
  const size_t E = block.p.E;
  for (size_t key = block.base(); key < block.end(); key += kDecodeVecs * kTileKeys) {
    // A tile after the last key may lie in a page that is not there.
    const bool single = key + kTileKeys >= block.end();
    for (size_t i = 0; i < block.group; i += kDecodeHeads) {
      const size_t left = block.group - i, at = i * kDecodeKeys + key - block.base();
      with_vecs<kDecodeHeads>(
          left < kDecodeHeads ? static_cast<int>(left) : kDecodeHeads, [&](auto heads) {
            if (single)
              tile_products<Code, heads, 1>(stored, E, key, q + i * E, out + at);
            else
              tile_products<Code, heads, kDecodeVecs>(stored, E, key, q + i * E, out + at);
          });
    }
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
  each_chunk(block.count,
             [&](auto c) { c.put(products, exp_of_negative(sub(c.get(products), shift))); });
  return largest_score;
}

/// Totals of kHeads rows of weights, each one chain, keys ascending.
template <int kHeads>
inline void add_weights(size_t count, const float* weights, float* totals) {
  float sums[kHeads] = {};
  for (size_t key = 0; key < count; ++key)
#pragma GCC unroll 8
    for (int i = 0; i < kHeads; ++i) sums[i] += weights[i * kDecodeKeys + key];
  for (int i = 0; i < kHeads; ++i) totals[i] = sums[i];
}

/// sums[i, columns] += sum over keys [begin, end) of a page, ascending, of weights[i, key] · value,
/// for kHeads rows i and kChunks chunks of columns. Asks for as many keys from `next` on.
template <typename Code, int kHeads, int kChunks>
inline void value_sums(const HeadPage<Code>& page, const Code* next, size_t chunk, size_t begin,
                       size_t end, const float* weights, size_t ld, float* sums) {
  Vec acc[kHeads][kChunks];
#pragma GCC unroll 8
  for (int i = 0; i < kHeads; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kChunks; ++j) acc[i][j] = load(sums + i * ld + j * kLanes);
  for (size_t key = begin; key < end; ++key, ++weights) {
    const Vec scale = kScaled<Code> ? splat(page.value_scales[key]) : zero();
    Vec values[kChunks];
#pragma GCC unroll 2
    for (int j = 0; j < kChunks; ++j)
      values[j] = load_values(page.column(chunk + static_cast<size_t>(j), key), scale);
#pragma GCC unroll 2
    for (size_t j = 0; j < kChunks; ++j)
      __builtin_prefetch(next + ((chunk + j) * (end - begin) + key - begin) * kLanes, 0, 2);
#pragma GCC unroll 8
    for (int i = 0; i < kHeads; ++i) {
      const Vec weight = splat(weights[i * kDecodeKeys]);
#pragma GCC unroll 2
      for (int j = 0; j < kChunks; ++j) acc[i][j] = fma(weight, values[j], acc[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kHeads; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kChunks; ++j) store(sums + i * ld + j * kLanes, acc[i][j]);
}

/// Sums of the block's values for heads [head, head + kHeads): sums of head 0, [group, padded E].
template <typename Code, int kHeads>
inline void decode_values(const DecodeBlock& block, const StoredPages& stored, size_t head,
                          const float* weights, float* sums) {
  const size_t E = block.p.E, width = padded(E), chunks = width / kLanes;
  sums += head * width;
  weights += head * kDecodeKeys;
  std::memset(sums, 0, kHeads * width * sizeof(float));
  for (size_t key = block.begin(); key < block.end();) {
    const size_t begin = key % kPageKeys, left = block.end() - key;
    const size_t end = begin + left < kPageKeys ? begin + left : kPageKeys;
    const HeadPage<Code> page = page_of<Code>(stored, E, key);
    const size_t following = key + end - begin;
    const Code* const next = following < block.end() ? page_of<Code>(stored, E, following).keys
                             : block.next != nullptr ? reinterpret_cast<const Code*>(block.next)
                                                     : page.keys;
    size_t chunk = 0;
    for (; chunk + kDecodeVecs <= chunks; chunk += kDecodeVecs)
      value_sums<Code, kHeads, kDecodeVecs>(page, next, chunk, begin, end, weights, width,
                                            sums + chunk * kLanes);
    for (; chunk < chunks; ++chunk)
      value_sums<Code, kHeads, 1>(page, next, chunk, begin, end, weights, width,
                                  sums + chunk * kLanes);
    weights += end - begin;
    key += end - begin;
  }
}

/// What one block adds to a query.
template <typename Code>
inline void decode_codes(const DecodeBlock& block, const StoredPages& stored, float* part,
                         float* scratch) {
  const AttentionArgs& p = block.p;
  float *const q = scratch, *const products = q + block.group * p.E;
  float *const most = part, *const totals = part + block.group, *const sums = totals + block.group;
  each_chunk(block.group * p.E,
             [&](auto c) { c.put(q, mul(c.get(p.q.floats() + block.row * p.E), splat(p.scale))); });
  decode_products<Code>(block, stored, q, products);
  float* const weights = products + (block.begin() - block.base());
  for (size_t i = 0; i < block.group; ++i)
    most[i] = decode_weights(block, block.head + i, weights + i * kDecodeKeys);
  for (size_t i = 0; i < block.group; i += kDecodeHeads) {
    const size_t left = block.group - i;
    with_vecs<kDecodeHeads>(
        left < kDecodeHeads ? static_cast<int>(left) : kDecodeHeads, [&](auto heads) {
          add_weights<heads>(block.count, weights + i * kDecodeKeys, totals + i);
          decode_values<Code, heads>(block, stored, i, weights, sums);
        });
  }
}

inline void decode_block(const AttentionArgs& p, const StoredPages& stored, const DecodeTask& task,
                         float* part, float* scratch) {
  const DecodeBlock block(p, task);
  if (block.count == 0) return;
  with_codes(stored.type,
             [&](auto code) { decode_codes<decltype(code)>(block, stored, part, scratch); });
}

/// Puts the blocks of a query together, the first one first.
inline void decode_finish(const AttentionArgs& p, const DecodeTask& task, float* parts, float* y) {
  const DecodeBlock query(p, task);
  const size_t group = query.group, part = part_size(group, p.E), width = padded(p.E);
  const int32_t range = query.last - query.first + 1;
  for (size_t i = 0; i < group; ++i) {
    float* const out = parts + 2 * group + i * width;
    RunningSoftmax all = {zero(), zero()};
    if (range > 0) all = {splat(parts[i]), splat(parts[group + i])};
    for (int32_t n = 1; n * kKeyBlock < range; ++n) {
      const float* const block = parts + static_cast<size_t>(n) * part;
      const RunningSoftmax next = {splat(block[i]), splat(block[group + i])};
      const Mask none = equal(next.total, zero());
      const Rescale factors = rescale(all, next, none);
      each_chunk(p.E, [&](auto c) {
        const Vec before = c.get(out), added = c.get(block + 2 * group + i * width);
        c.put(out, select(none, before, fma(added, factors.block, mul(before, factors.before))));
      });
    }
    const Vec total = select(equal(all.total, zero()), splat(1), all.total);
    const Vec inverse = div(splat(1), total);
    each_chunk(p.E, [&](auto c) {
      c.put(y + (query.row + i) * p.E, range > 0 ? mul(c.get(out), inverse) : zero());
    });
  }
}

}  // namespace
}  // namespace llmkit
