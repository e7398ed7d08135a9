#pragma once

#include "base/simd/loops.h"
#include "cpu/attention/attention.h"

// Keys and values of a head as pages of kPageKeys in float32, in the order in which the tiles read
// them (page_layout.h): include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

/// Keys read together.
constexpr size_t kTileKeys = kLanes;
static_assert(kPageKeys % kTileKeys == 0, "pages hold whole tiles");

/// Columns that values and sums of them are padded to.
constexpr size_t padded(size_t E) { return (E + kLanes - 1) / kLanes * kLanes; }

/// Where element 0 of a key's tile is, the first key of which it is a multiple of kTileKeys.
inline const float* tile_at(const float* const* pages, size_t E, size_t key) {
  return pages[key / kPageKeys] + key % kPageKeys * E;
}

/// Packs rows [begin, end) of x [S, ld] as the pages of one head; end - begin <= kPageKeys. Tiles
/// after the last key are left as they are: nothing reads them.
inline void pack_tiles(const float* x, size_t ld, size_t count, size_t E, float* page) {
  for (size_t key = 0; key < count; key += kTileKeys, page += E * kTileKeys) {
    const size_t n = count - key;
    const float* const rows = x + key * ld;
    each_chunk(E, [&](auto c) {
      Vec block[kLanes];
      for (size_t i = 0; i < kTileKeys; ++i) block[i] = i < n ? c.get(rows + i * ld) : zero();
      transpose(block);
      for (size_t e = 0; e < kLanes && c.i + e < E; ++e)
        store(page + (c.i + e) * kTileKeys, block[e]);
    });
  }
}

inline void pack_columns(const float* x, size_t ld, size_t count, size_t E, float* page) {
  for (size_t key = 0; key < count; ++key)
    each_chunk(E, [&](auto c) {
      store(page + (c.i / kLanes * kPageKeys + key) * kLanes, c.get(x + key * ld));
    });
}

}  // namespace
}  // namespace llmkit
