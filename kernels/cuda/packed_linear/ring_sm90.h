#pragma once

#include "cuda/base/ring.h"
#include "cuda/packed_linear/groups.h"

// What a ring (base/ring.h) is filled with: tiles of a packed weight, rows of x or dy.

namespace llmkit::cuda {

#ifdef LLMKIT_WARPGROUPS

/// Bytes of the scales and of the zero points of a tile.
__device__ __forceinline__ uint32_t scale_bytes(const WeightArgs& w) {
  return (w.half_tiles ? 2 : 1) * w.scale_stride;
}
__device__ __forceinline__ uint32_t zero_bytes(const WeightArgs& w) {
  if (w.zeros == nullptr) return 0;
  return (w.half_tiles ? 2 : 1) * kTileRows;
}
template <class Codec>
__device__ __forceinline__ uint32_t tile_bytes(const WeightArgs& w) {
  return kTileBytes<Codec> + (Codec::kScaled ? scale_bytes(w) + zero_bytes(w) : 0);
}

/// Queues the copies of a tile and of its scales and zero points: tile_bytes of them.
template <class Codec>
__device__ __forceinline__ void copy_whole_tile(const WeightArgs& w, int row_tile, int tile,
                                                uint32_t codes, uint32_t groups, uint32_t full) {
  const size_t index = static_cast<size_t>(row_tile) * w.column_tiles + tile;
  copy_bulk(codes, w.codes + index * kTileBytes<Codec>, kTileBytes<Codec>, full);
  if (!Codec::kScaled) return;
  const size_t group = static_cast<size_t>(row_tile) * w.groups + w.group_of(tile);
  copy_bulk(groups, w.scales + group * w.scale_stride, scale_bytes(w), full);
  if (w.zeros != nullptr)
    copy_bulk(groups + kScaleSpace, w.zeros + group * kTileRows, zero_bytes(w), full);
}

/// Bytes of the rows of x or dy from `row` on, at most kRows of them, of a tile of columns.
template <int kRows>
__device__ __forceinline__ uint32_t row_bytes(int m, int row) {
  return min(kRows, whole_rows(m) - row) * kTileColumns * 2;
}

#endif

}  // namespace llmkit::cuda
