#pragma once

#include "base/simd/axpy.h"
#include "base/simd/dot.h"
#include "base/simd/loops.h"
#include "base/simd/math.h"
#include "cpu/attention/attention.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

/// A query head: where it is, and the keys it sees.
struct QueryRow {
  size_t offset;     // of its E values in q, y, dq
  size_t statistic;  // its place in log_sum_exp
  size_t head;
  int32_t first, last;
};

inline QueryRow query_row(const AttentionArgs& p, size_t b, size_t kv, size_t row) {
  const size_t group = p.H / p.K, position = b * p.T + row / group;
  const size_t head = kv * group + row % group, statistic = position * p.H + head;
  return {statistic * p.E, statistic, head, p.first[position], p.last[position]};
}

/// Consecutive rows of one key/value head, and the keys they see.
struct QueryTile {
  size_t count = 0;
  QueryRow rows[kGradRows];
  int32_t low = 0, high = -1;                  // the keys that any row sees
  int32_t common_first = 0, common_last = -1;  // the keys that all rows see
};

inline QueryTile query_tile(const AttentionArgs& p, const AttentionTask& task) {
  QueryTile tile;
  tile.count = task.end - task.begin;
  int32_t latest_first = -1, earliest_last = 0x7fffffff;
  for (size_t i = 0; i < tile.count; ++i) {
    const QueryRow row = tile.rows[i] = query_row(p, task.b, task.kv, task.begin + i);
    latest_first = row.first > latest_first ? row.first : latest_first;
    earliest_last = row.last < earliest_last ? row.last : earliest_last;
    if (row.last < row.first) continue;
    tile.low = tile.high < 0 || row.first < tile.low ? row.first : tile.low;
    tile.high = row.last > tile.high ? row.last : tile.high;
  }
  if (latest_first <= earliest_last) {
    tile.common_first = latest_first;
    tile.common_last = earliest_last;
  }
  return tile;
}

/// The tile's rows of an array shaped as q, one after the other.
inline void pack_rows(const QueryTile& tile, size_t size, const float* from, float* to) {
  for (size_t i = 0; i < tile.count; ++i)
    std::memcpy(to + i * size, from + tile.rows[i].offset, size * sizeof(float));
}

inline size_t key_offset(const AttentionArgs& p, const AttentionTask& task, size_t key) {
  return ((task.b * p.S + key) * p.K + task.kv) * p.E;
}

/// out[i, j - low] = packed row i · row j of k or v, for keys low..high.
inline void products(const AttentionArgs& p, const AttentionTask& task, size_t rows, int32_t low,
                     int32_t high, const float* packed, const float* keys, float* out, size_t ld) {
  constexpr int32_t kBlock = 96;  // keys that stay in the nearest cache for all rows
  for (int32_t j = low; j <= high; j += kBlock) {
    const size_t count = high - j + 1 < kBlock ? high - j + 1 : kBlock;
    dot_product({rows, count, p.E, packed, p.E, keys + key_offset(p, task, j), p.K * p.E, nullptr,
                 out + (j - low), ld});
  }
}

/// From q·k to the score of a key, for one query head.
struct Score {
  Vec scale, cap, inverse_cap, slope;
  bool capped, sloped;
  int32_t last;

  Score(const AttentionArgs& p, const QueryRow& row)
      : scale(splat(p.scale)),
        cap(splat(p.softcap)),
        inverse_cap(splat(p.softcap > 0 ? 1 / p.softcap : 0)),
        slope(splat(p.slopes == nullptr ? 0 : p.slopes[row.head])),
        capped(p.softcap > 0),
        sloped(p.slopes != nullptr),
        last(row.last) {}

  /// tanh(s / cap)
  Vec bend(Vec product) const { return tanh(mul(mul(product, scale), inverse_cap)); }

  /// Scores of 16 keys from `key`.
  Vec operator()(Vec product, int32_t key) const {
    const Vec s = capped ? mul(cap, bend(product)) : mul(product, scale);
    if (!sloped) return s;
    const Index distance = add(lane_numbers(), splat_int(static_cast<uint32_t>(key - last)));
    return fma(slope, to_float(distance), s);
  }

  /// d score / d product
  Vec derivative(Vec product) const {
    if (!capped) return scale;
    const Vec t = bend(product);
    return mul(scale, sub(splat(1), mul(t, t)));
  }
};

/// Turns a row's products into exp(score - largest); returns the sum of them.
struct RowWeights {
  float largest_score, total;
};
inline RowWeights softmax_weights(const Score& score, const QueryRow& row, float* products) {
  const size_t n = row.last - row.first + 1;
  const Vec lowest = splat(-__builtin_inff());
  Vec most = lowest;
  each_chunk(n, [&](auto c) {
    const Vec s = score(c.get(products), row.first + static_cast<int32_t>(c.i));
    c.put(products, s);
    most = larger(most, c.or_else(s, lowest));
  });
  const float largest_score = largest(most);
  const Vec shift = splat(largest_score);
  const float total = sum_chunks(n, [&](auto c) {
    const Vec e = exp(sub(c.get(products), shift));
    c.put(products, e);
    return e;
  });
  return {largest_score, total};
}

/// out[i] = sum over row i's keys, ascending, of weights[i, key - low] · row key of `keys`.
/// What all rows see is done for all at once; the order within a row is the same.
inline void weighted_sums(const AttentionArgs& p, const AttentionTask& task, const QueryTile& tile,
                          const float* weights, size_t ld, const float* keys, float* out) {
  const auto run = [&](size_t row, size_t count, int32_t from, int32_t to, bool accumulate) {
    const size_t n = to < from ? 0 : to - from + 1;
    if (n == 0 && accumulate) return;
    axpy_product({count, p.E, n, weights + row * ld + (n == 0 ? 0 : from - tile.low), ld, 1,
                  keys + key_offset(p, task, n == 0 ? 0 : from), p.K * p.E, out + row * p.E, p.E,
                  accumulate});
  };
  if (tile.common_last < tile.common_first) {
    for (size_t i = 0; i < tile.count; ++i) run(i, 1, tile.rows[i].first, tile.rows[i].last, false);
    return;
  }
  for (size_t i = 0; i < tile.count; ++i)
    run(i, 1, tile.rows[i].first, tile.common_first - 1, false);
  run(0, tile.count, tile.common_first, tile.common_last, true);
  for (size_t i = 0; i < tile.count; ++i) run(i, 1, tile.common_last + 1, tile.rows[i].last, true);
}

inline void forward_rows(const AttentionArgs& p, const AttentionTask& task, float* y,
                         float* log_sum_exp, float* scratch) {
  const QueryTile tile = query_tile(p, task);
  const size_t ld = tile.high < tile.low ? 1 : tile.high - tile.low + 1;
  float* const packed = scratch;
  float* const out = packed + tile.count * p.E;
  float* const weights = out + tile.count * p.E;
  pack_rows(tile, p.E, p.q, packed);
  products(p, task, tile.count, tile.low, tile.high, packed, p.k, weights, ld);
  RowWeights totals[kQueryRows];
  for (size_t i = 0; i < tile.count; ++i) {
    const QueryRow& row = tile.rows[i];
    totals[i] = {0, 1};
    if (row.last >= row.first)
      totals[i] = softmax_weights(Score(p, row), row, weights + i * ld + (row.first - tile.low));
  }
  weighted_sums(p, task, tile, weights, ld, p.v, out);
  for (size_t i = 0; i < tile.count; ++i) {
    const Vec inverse = splat(1 / totals[i].total);
    each_chunk(p.E,
               [&](auto c) { c.put(y + tile.rows[i].offset, mul(c.get(out + i * p.E), inverse)); });
    if (log_sum_exp == nullptr) continue;
    const Vec total = log(splat(totals[i].total));
    store_partial(log_sum_exp + tile.rows[i].statistic, add(splat(totals[i].largest_score), total),
                  1);
  }
}

/// What the gradient of a row needs besides its keys.
struct RowGradient {
  Score score;
  Vec log_sum_exp, along;  // along = dy · y
};
inline RowGradient row_gradient(const AttentionArgs& p, const AttentionGradArgs& g,
                                const QueryRow& row) {
  const float* const y = g.y + row.offset;
  const float* const dy = g.dy + row.offset;
  const float along = sum_chunks(p.E, [&](auto c) { return mul(c.get(y), c.get(dy)); });
  return {Score(p, row), splat(g.log_sum_exp[row.statistic]), splat(along)};
}

/// For n keys from `key`: the softmax weight into products, the gradient to q·k into dproducts,
/// which holds dy·v.
inline void grad_weights(const RowGradient& row, int32_t key, size_t n, float* products,
                         float* dproducts) {
  each_chunk(n, [&](auto c) {
    const Vec product = c.get(products);
    const Vec s = row.score(product, key + static_cast<int32_t>(c.i));
    const Vec weight = exp(sub(s, row.log_sum_exp));
    const Vec ds = mul(weight, sub(c.get(dproducts), row.along));
    c.put(products, weight);
    c.put(dproducts, mul(ds, row.score.derivative(product)));
  });
}

inline void grad_query_rows(const AttentionArgs& p, const AttentionGradArgs& g,
                            const AttentionTask& task, float* scratch) {
  const QueryTile tile = query_tile(p, task);
  const size_t ld = tile.high < tile.low ? 1 : tile.high - tile.low + 1;
  float* const packed = scratch;
  float* const out = packed + tile.count * p.E;
  float* const weights = out + tile.count * p.E;
  float* const dweights = weights + tile.count * ld;
  pack_rows(tile, p.E, p.q, packed);
  products(p, task, tile.count, tile.low, tile.high, packed, p.k, weights, ld);
  pack_rows(tile, p.E, g.dy, packed);
  products(p, task, tile.count, tile.low, tile.high, packed, p.v, dweights, ld);
  for (size_t i = 0; i < tile.count; ++i) {
    const QueryRow& row = tile.rows[i];
    if (row.last < row.first) continue;
    const size_t at = i * ld + (row.first - tile.low);
    grad_weights(row_gradient(p, g, row), row.first, row.last - row.first + 1, weights + at,
                 dweights + at);
  }
  weighted_sums(p, task, tile, dweights, ld, p.k, out);
  for (size_t i = 0; i < tile.count; ++i)
    std::memcpy(g.dq + tile.rows[i].offset, out + i * p.E, p.E * sizeof(float));
}

/// Keys [low, low + n) of a row that it does not see count for nothing.
inline void clear_unseen(const QueryRow& row, int32_t low, size_t n, float* values) {
  const auto place = [&](int32_t key) -> size_t {
    return key <= low ? 0 : static_cast<size_t>(key - low) < n ? key - low : n;
  };
  const size_t begin = place(row.first), end = place(row.last + 1);
  const size_t seen = row.last < row.first ? 0 : end - begin;
  std::memset(values, 0, (seen == 0 ? n : begin) * sizeof(float));
  if (seen > 0) std::memset(values + end, 0, (n - end) * sizeof(float));
}

/// Adds the part of a tile of queries to dk and dv of n keys from `low`.
inline void add_key_gradients(const AttentionArgs& p, const AttentionGradArgs& g,
                              const AttentionTask& task, const QueryTile& tile, float* scratch) {
  const int32_t low = static_cast<int32_t>(task.begin);
  const size_t n = task.end - task.begin, offset = key_offset(p, task, task.begin);
  float* const q = scratch;
  float* const dy = q + tile.count * p.E;
  float* const weights = dy + tile.count * p.E;
  float* const dweights = weights + tile.count * n;
  pack_rows(tile, p.E, p.q, q);
  pack_rows(tile, p.E, g.dy, dy);
  products(p, task, tile.count, low, low + static_cast<int32_t>(n) - 1, q, p.k, weights, n);
  products(p, task, tile.count, low, low + static_cast<int32_t>(n) - 1, dy, p.v, dweights, n);
  for (size_t i = 0; i < tile.count; ++i) {
    grad_weights(row_gradient(p, g, tile.rows[i]), low, n, weights + i * n, dweights + i * n);
    clear_unseen(tile.rows[i], low, n, weights + i * n);
    clear_unseen(tile.rows[i], low, n, dweights + i * n);
  }
  const size_t ld = p.K * p.E;
  axpy_product({n, p.E, tile.count, weights, 1, n, dy, p.E, g.dv + offset, ld, true});
  axpy_product({n, p.E, tile.count, dweights, 1, n, q, p.E, g.dk + offset, ld, true});
}

inline void grad_key_block(const AttentionArgs& p, const AttentionGradArgs& g,
                           const AttentionTask& task, float* scratch) {
  for (size_t key = task.begin; key < task.end; ++key) {
    const size_t offset = key_offset(p, task, key);
    each_chunk(p.E, [&](auto c) {
      c.put(g.dk + offset, zero());
      c.put(g.dv + offset, zero());
    });
  }
  const size_t rows = p.T * (p.H / p.K);
  for (size_t row = 0; row < rows; row += kGradRows) {
    const size_t end = row + kGradRows < rows ? row + kGradRows : rows;
    const QueryTile tile = query_tile(p, {task.b, task.kv, row, end});
    const bool seen =
        tile.low < static_cast<int32_t>(task.end) && tile.high >= static_cast<int32_t>(task.begin);
    if (seen) add_key_gradients(p, g, task, tile, scratch);
  }
}

}  // namespace
}  // namespace llmkit
