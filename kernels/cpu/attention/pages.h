#pragma once

#include "base/simd/loops.h"
#include "cpu/attention/attention.h"

// Keys and values of a head as pages of kPageKeys, in the order in which the tiles read them:
// include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

/// Keys read together; a page of `tiles` is [kPageKeys / kTileKeys, E, kTileKeys], one of `columns`
/// [E / 16 rounded up, kPageKeys, 16], with zeros where there is no key and no column.
constexpr size_t kTileKeys = kLanes;
static_assert(kPageKeys % kTileKeys == 0, "pages hold whole tiles");

/// Where element 0 of a key's tile is, the first key of which it is a multiple of kTileKeys.
inline const float* tile_at(const float* const* pages, size_t E, size_t key) {
  return pages[key / kPageKeys] + key % kPageKeys * E;
}

/// Packs rows [begin, end) of x [S, ld] as the pages of one head; end - begin <= kPageKeys.
inline void pack_tiles(const float* x, size_t ld, size_t count, size_t E, float* page) {
  for (size_t key = 0; key < kPageKeys; key += kTileKeys, page += E * kTileKeys) {
    const size_t n = key < count ? count - key : 0;
    if (n == 0) std::memset(page, 0, E * kTileKeys * sizeof(float));
    if (n == 0) continue;
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
  for (size_t key = 0; key < kPageKeys; ++key)
    each_chunk(E, [&](auto c) {
      store(page + (c.i / kLanes * kPageKeys + key) * kLanes,
            key < count ? c.get(x + key * ld) : zero());
    });
}

}  // namespace
}  // namespace llmkit
