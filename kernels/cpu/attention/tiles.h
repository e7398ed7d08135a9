#pragma once

#include <type_traits>
#include <utility>

#include "cpu/attention/pages.h"
#include "cpu/attention/rows.h"

// Products of a tile of query rows with keys and values, one row a lane: include
// base/simd/<isa>.h and name kRowVecs and kSplats first.

namespace llmkit {
namespace {  // a copy per instruction set

/// Neighbouring keys that the same vectors of rows see; `whole` when every row of them does.
struct KeyRun {
  int32_t begin, end;  // keys [begin, end)
  int vec_begin, vec_end;
  bool whole;
};

/// Rows of a buffer for the products of a tile and a block of keys, ragged ends and all. Row 0 is
/// that of a multiple of kTileKeys.
constexpr size_t kBufferKeys = kKeyBlock + kFirstKeys + 2 * kTileKeys;

struct KeyRuns {
  int32_t base = 0;  // the key of row 0 of the tile's buffers
  int count = 0;
  KeyRun run[kBufferKeys / kTileKeys];

  const KeyRun* begin() const { return run; }
  const KeyRun* end() const { return run + count; }
  size_t place(int32_t key) const { return static_cast<size_t>(key - base); }
};

/// What the rows of one vector see.
struct VecKeys {
  int32_t low = 0, high = -1;              // the keys that any row sees
  int32_t whole_low = 0, whole_high = -1;  // the keys that all rows see

  VecKeys() = default;
  VecKeys(const SeenKeys& seen, int vec) {
    int32_t latest = 0, earliest = 0x7fffffff;
    for (int i = vec * kLanes; i < (vec + 1) * kLanes; ++i) {
      latest = seen.begin[i] > latest ? seen.begin[i] : latest;
      earliest = seen.end[i] < earliest ? seen.end[i] : earliest;
      if (seen.end[i] < seen.begin[i]) {
        earliest = -1;
        continue;
      }
      low = high < low || seen.begin[i] < low ? seen.begin[i] : low;
      high = seen.end[i] > high ? seen.end[i] : high;
    }
    whole_low = latest;
    whole_high = earliest;
  }
};

/// The run within one tile of keys; empty when no row sees a key of it.
inline KeyRun tile_run(const VecKeys* keys, int vecs, int32_t base) {
  const int32_t next = base + static_cast<int32_t>(kTileKeys);
  KeyRun run = {next, base, vecs, 0, true};
  for (int vec = 0; vec < vecs; ++vec) {
    const VecKeys& k = keys[vec];
    if (k.high < k.low || k.high < base || k.low >= next) continue;
    if (vec < run.vec_begin) run.vec_begin = vec;
    run.vec_end = vec + 1;
    const int32_t begin = k.low > base ? k.low : base, end = k.high + 1 < next ? k.high + 1 : next;
    run.begin = begin < run.begin ? begin : run.begin;
    run.end = end > run.end ? end : run.end;
  }
  for (int vec = run.vec_begin; vec < run.vec_end; ++vec)
    run.whole &= keys[vec].whole_low <= run.begin && keys[vec].whole_high >= run.end - 1;
  return run;
}

/// Cuts the keys that a tile of rows sees into runs, at the ends of pages too.
inline KeyRuns key_runs(const RowTile& tile, const SeenKeys& seen) {
  VecKeys keys[kRowVecs];
  int32_t low = 0x7fffffff, high = -1;
  for (int vec = 0; vec < tile.vecs; ++vec) {
    keys[vec] = VecKeys(seen, vec);
    if (keys[vec].high < keys[vec].low) continue;
    low = keys[vec].low < low ? keys[vec].low : low;
    high = keys[vec].high > high ? keys[vec].high : high;
  }
  constexpr int32_t kStep = static_cast<int32_t>(kTileKeys);
  constexpr int32_t kPage = static_cast<int32_t>(kPageKeys);
  KeyRuns runs;
  runs.base = low / kStep * kStep;
  for (int32_t base = runs.base; base <= high; base += kStep) {
    const KeyRun next = tile_run(keys, tile.vecs, base);
    if (next.end <= next.begin) continue;
    KeyRun* const run = runs.count == 0 ? nullptr : &runs.run[runs.count - 1];
    if (run != nullptr && run->end == next.begin && next.begin % kPage != 0 &&
        run->vec_begin == next.vec_begin && run->vec_end == next.vec_end &&
        run->whole == next.whole)
      run->end = next.end;
    else
      runs.run[runs.count++] = next;
  }
  return runs;
}

/// The runs of keys [begin, end) that every row of a tile sees.
inline KeyRuns whole_runs(const RowTile& tile, int32_t begin, int32_t end) {
  constexpr int32_t kPage = static_cast<int32_t>(kPageKeys);
  KeyRuns runs;
  runs.base = begin - begin % static_cast<int32_t>(kTileKeys);
  while (begin < end) {
    const int32_t page_end = (begin / kPage + 1) * kPage, next = page_end < end ? page_end : end;
    runs.run[runs.count++] = {begin, next, 0, tile.vecs, true};
    begin = next;
  }
  return runs;
}

/// Calls body with the number of vectors of a run, 1..kRowVecs, as a constant.
template <int kVecs = kRowVecs, typename Body>
inline void with_vecs(int vecs, const Body& body) {
  if constexpr (kVecs > 1)
    if (vecs < kVecs) return with_vecs<kVecs - 1>(vecs, body);
  body(std::integral_constant<int, kVecs>());
}

/// out[j, lanes] = sum over e, ascending, of q[e, lanes] · keys[e, j] for kSplats keys j of a tile.
/// The largest of each lane's products are put to those in `most`, unless that is null.
template <int kVecs>
inline void key_products(size_t E, const float* q, const float* keys, float* out, Vec* most) {
  Vec acc[kSplats][kVecs];
#pragma GCC unroll 8
  for (int j = 0; j < kSplats; ++j)
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) acc[j][v] = zero();
  for (size_t e = 0; e < E; ++e, q += kTileRows, keys += kTileKeys) {
    Vec rows[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) rows[v] = load(q + v * kLanes);
#pragma GCC unroll 8
    for (int j = 0; j < kSplats; ++j) {
      const Vec key = splat(keys[j]);
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) acc[j][v] = fma(rows[v], key, acc[j][v]);
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < kSplats; ++j)
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) store(out + j * kTileRows + v * kLanes, acc[j][v]);
  if (most == nullptr) return;
#pragma GCC unroll 8
  for (int j = 0; j < kSplats; ++j)
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) most[v] = larger(acc[j][v], most[v]);
}

/// Products of the keys of a run, and of some beside it, with the rows q [E, kTileRows]. `most` as
/// for key_products, for the keys of the run and the vectors of a tile.
inline void run_products(const KeyRuns& runs, const KeyRun& run, size_t E, const float* q,
                         const float* const* pages, float* out, Vec* most) {
  static_assert(kTileKeys % kSplats == 0, "keys multiplied together are of one tile");
  const size_t lanes = run.vec_begin * kLanes;
  if (most != nullptr) most += run.vec_begin;
  with_vecs(run.vec_end - run.vec_begin, [&](auto vecs) {
    for (int32_t key = run.begin - run.begin % kSplats; key < run.end; key += kSplats) {
      const size_t in_tile = static_cast<size_t>(key) % kTileKeys;
      const float* const tile = tile_at(pages, E, static_cast<size_t>(key) - in_tile);
      float* const to = out + runs.place(key) * kTileRows + lanes;
      const bool inside = key >= run.begin && key + kSplats <= run.end;
      key_products<vecs>(E, q + lanes, tile + in_tile, to, inside ? most : nullptr);
      if (inside || most == nullptr) continue;
      for (int32_t j = 0; j < kSplats; ++j)
        for (int v = 0; v < vecs && key + j >= run.begin && key + j < run.end; ++v)
          most[v] = larger(load(to + j * kTileRows + v * kLanes), most[v]);
    }
  });
}

/// out[e, lanes] += sum over keys of the run, ascending, of weights[key, lanes] · values[key, e],
/// for kSplats columns e. A lane adds only the keys that it sees.
template <int kVecs, bool kWhole>
inline void value_products(const KeyRun& run, const float* weights, const float* values,
                           const SeenMask* seen, float* out) {
  Vec acc[kSplats][kVecs];
#pragma GCC unroll 8
  for (int e = 0; e < kSplats; ++e)
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) acc[e][v] = load(out + e * kTileRows + v * kLanes);
  for (int32_t key = run.begin; key < run.end; ++key, weights += kTileRows, values += kLanes) {
    Vec weight[kVecs];
    Mask sees[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      weight[v] = load(weights + v * kLanes);
      if (!kWhole) sees[v] = seen[v](key);
    }
#pragma GCC unroll 8
    for (int e = 0; e < kSplats; ++e) {
      const Vec value = splat(values[e]);
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) {
        const Vec sum = fma(value, weight[v], acc[e][v]);
        acc[e][v] = kWhole ? sum : select(sees[v], sum, acc[e][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int e = 0; e < kSplats; ++e)
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) store(out + e * kTileRows + v * kLanes, acc[e][v]);
}

/// Adds the run's weighted values to the columns of out [padded E, kTileRows].
inline void run_values(const KeyRuns& runs, const KeyRun& run, size_t E, const float* weights,
                       const float* const* pages, const SeenMask* seen, float* out) {
  static_assert(kLanes % kSplats == 0, "columns added up together lie together");
  const size_t lanes = run.vec_begin * kLanes, key = static_cast<size_t>(run.begin);
  const float* const values = pages[key / kPageKeys] + key % kPageKeys * kLanes;
  weights += runs.place(run.begin) * kTileRows + lanes;
  with_vecs(run.vec_end - run.vec_begin, [&](auto vecs) {
    const auto columns = [&](auto whole) {
      for (size_t e = 0; e < E; e += kSplats) {
        const float* const at = values + e / kLanes * kPageKeys * kLanes + e % kLanes;
        value_products<vecs, whole>(run, weights, at, seen + run.vec_begin,
                                    out + e * kTileRows + lanes);
      }
    };
    run.whole ? columns(std::true_type()) : columns(std::false_type());
  });
}

}  // namespace
}  // namespace llmkit
