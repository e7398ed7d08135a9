#pragma once

#include <cstring>
#include <type_traits>

#include "base/simd/loops.h"
#include "base/simd/math.h"
#include "cpu/attention/attention.h"

// Tiles of query rows, and what each row sees: include base/simd/<isa>.h and name kRowVecs first.

namespace llmkit {
namespace {  // a copy per instruction set

/// Rows of a tile: its lanes run along them, so that a row's sums are one chain in one lane.
constexpr size_t kTileRows = kRowVecs * kLanes;
/// The first keys of a tile's rows lie within so many keys.
constexpr int32_t kFirstKeys = 128;

/// A query head: where it is, and the keys it sees.
struct QueryRow {
  size_t offset;     // of its E values in q, y, dq
  size_t statistic;  // its place in log_sum_exp
  size_t head;
  int32_t first, last;
};

/// Goes through the rows of one key/value head.
class QueryRows {
 public:
  QueryRows(const AttentionArgs& args, const AttentionTask& task, size_t row)
      : p(args),
        group_(args.H / args.K),
        position_(task.b * args.T + row / group_),
        member_(row % group_),
        first_head_(task.kv * group_) {}

  QueryRow next() {
    const size_t head = first_head_ + member_, statistic = position_ * p.H + head;
    const QueryRow row = {statistic * p.E, statistic, head, p.first[position_], p.last[position_]};
    if (++member_ == group_) {
      member_ = 0;
      ++position_;
    }
    return row;
  }

 private:
  const AttentionArgs& p;
  const size_t group_;
  size_t position_, member_;
  const size_t first_head_;
};

/// Consecutive rows of one key/value head.
struct RowTile {
  size_t count = 0;
  int vecs = 0;  // that hold them
  QueryRow rows[kTileRows];
  int32_t low = 0, high = -1;  // the keys that any row sees
  int32_t latest = 0;          // the first key of the row that begins last
  int32_t earliest = -1;       // the last key of the row that ends first
  int32_t longest = 0;         // keys of the row that sees most

  /// Whether every row begins with the same key and sees `count` keys from there on.
  bool all_see(int32_t count) const { return low == latest && earliest - low >= count - 1; }
};

/// As many rows from `begin` as fit one tile.
inline RowTile row_tile(const AttentionArgs& p, const AttentionTask& task, size_t begin) {
  RowTile tile;
  QueryRows rows(p, task, begin);
  for (; tile.count < kTileRows && begin + tile.count < task.end; ++tile.count) {
    const QueryRow row = rows.next();
    if (row.last >= row.first) {
      const bool none = tile.high < tile.low;
      const int32_t low = none || row.first < tile.low ? row.first : tile.low;
      const int32_t latest = none || row.first > tile.latest ? row.first : tile.latest;
      if (latest - low > kFirstKeys) break;
      tile.low = low;
      tile.latest = latest;
      tile.high = none || row.last > tile.high ? row.last : tile.high;
      const int32_t range = row.last - row.first + 1;
      tile.longest = range > tile.longest ? range : tile.longest;
    }
    const bool ends_first = tile.count == 0 || row.last < tile.earliest;
    tile.earliest = ends_first ? row.last : tile.earliest;
    tile.rows[tile.count] = row;
  }
  tile.vecs = static_cast<int>((tile.count + kLanes - 1) / kLanes);
  return tile;
}

/// Where the rows of a vector of a tile begin: at(i) for row i. Lanes without a row repeat the last
/// one.
template <typename Value>
struct RowPointers {
  Value* at[kLanes];
  template <typename At>
  RowPointers(const RowTile& tile, int vec, const At& place) {
    for (size_t i = 0; i < kLanes; ++i) {
      const size_t row = vec * kLanes + i;
      at[i] = place(row < tile.count ? row : tile.count - 1);
    }
  }
};

/// The rows of a tile out of an array shaped as q, lanes along rows:
/// to[e, row] = factor · from[row, e].
template <typename Value>
inline void load_rows(const RowTile& tile, size_t E, const Value* from, float factor, float* to) {
  const auto place = [&](size_t i) { return from + tile.rows[i].offset; };
  for (int vec = 0; vec < tile.vecs; ++vec) {
    const RowPointers<const Value> rows(tile, vec, place);
    each_chunk(E, [&](auto c) {
      Vec block[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) block[i] = mul(c.get(rows.at[i]), splat(factor));
      transpose(block);
      float* const columns = to + c.i * kTileRows + vec * kLanes;
      for (int i = 0; i < elements(c); ++i) store(columns + i * kTileRows, block[i]);
    });
  }
}

/// The way back: element e of place(row) = factor[row] · from[e, row].
template <typename Place>
inline void store_rows(const RowTile& tile, size_t E, const float* from, const Vec* factor,
                       const Place& place) {
  for (int vec = 0; vec < tile.vecs; ++vec) {
    const RowPointers<std::remove_pointer_t<decltype(place(0))>> rows(tile, vec, place);
    const int rest = static_cast<int>(tile.count) - vec * kLanes;
    const int count = rest < kLanes ? rest : kLanes;
    each_chunk(E, [&](auto c) {
      const float* const columns = from + c.i * kTileRows + vec * kLanes;
      Vec block[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i)
        block[i] = i < elements(c) ? mul(load(columns + i * kTileRows), factor[vec]) : zero();
      transpose(block);
      for (int i = 0; i < count; ++i) c.put(rows.at[i], block[i]);
    });
  }
}

/// The keys [begin, end] that each lane sees, or none.
struct SeenKeys {
  int32_t begin[kTileRows], end[kTileRows];

  /// The part of each row's keys that `part(row)` cuts out. Lanes without a row repeat the last
  /// one.
  template <typename Part>
  SeenKeys(const RowTile& tile, Part part) {
    for (size_t i = 0; i < static_cast<size_t>(tile.vecs) * kLanes; ++i) {
      const QueryRow& row = tile.rows[i < tile.count ? i : tile.count - 1];
      const auto [from, to] = part(row);
      begin[i] = from > row.first ? from : row.first;
      end[i] = to < row.last ? to : row.last;
    }
  }
};

/// Tells which lanes of a vector of rows see a key: those less than `half` from the middle of
/// theirs. Exact below 2^22 keys.
struct SeenMask {
  Vec middle, half;

  SeenMask() = default;
  SeenMask(const SeenKeys& seen, int vec) {
    float middles[kLanes], halves[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      const int32_t begin = seen.begin[vec * kLanes + i], end = seen.end[vec * kLanes + i];
      middles[i] = 0.5f * static_cast<float>(begin + end);
      halves[i] = end < begin ? 0.0f : 0.5f * static_cast<float>(end - begin) + 0.25f;
    }
    middle = load(middles);
    half = load(halves);
  }

  Mask operator()(int32_t key) const {
    return less(magnitude(sub(splat(static_cast<float>(key)), middle)), half);
  }
};

/// From q·k, with the scale in q, to the score of a key, for the rows of a vector.
struct Score {
  Vec cap, inverse_cap, slope, last;
  bool capped, sloped;

  Score() = default;
  Score(const AttentionArgs& p, const RowTile& tile, int vec)
      : cap(splat(p.softcap)),
        inverse_cap(splat(p.softcap > 0 ? 1 / p.softcap : 0)),
        slope(zero()),
        last(zero()),
        capped(p.softcap > 0),
        sloped(p.slopes != nullptr) {
    if (!sloped) return;
    float slopes[kLanes] = {}, lasts[kLanes] = {};
    for (size_t i = 0; i < kLanes && vec * kLanes + i < tile.count; ++i) {
      const QueryRow& row = tile.rows[vec * kLanes + i];
      slopes[i] = p.slopes[row.head];
      lasts[i] = static_cast<float>(row.last);
    }
    slope = load(slopes);
    last = load(lasts);
  }

  /// tanh(s / cap)
  Vec bend(Vec product) const { return tanh(mul(product, inverse_cap)); }

  Vec operator()(Vec product, int32_t key) const {
    const Vec s = capped ? mul(cap, bend(product)) : product;
    return sloped ? fma(slope, sub(splat(static_cast<float>(key)), last), s) : s;
  }

  /// d score / d product, times g
  Vec derivative(Vec product, Vec g) const {
    if (!capped) return g;
    const Vec t = bend(product);
    return mul(g, sub(splat(1), mul(t, t)));
  }

  bool plain() const { return !capped && !sloped; }
};

}  // namespace
}  // namespace llmkit
