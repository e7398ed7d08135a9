#pragma once

#include "cuda/packed_linear/products.h"
#include "cuda/packed_linear/tile.h"
#include "cuda/packed_linear/update.h"

// What the kernels for many rows share: a block makes 128 rows of the weight x some rows of x by a
// ring of stages of 64 columns, a stage being rows of x, tiles, then their scales and zero points.

namespace llmkit::cuda {

constexpr int kManyThreads = 256, kBlockTiles = 4;

template <class Codec, int kXRows>
struct ManyStage {
  static constexpr int kXBytes = kXRows * 128;
  static constexpr int kGroups = kXBytes + kBlockTiles * kTileBytes<Codec>;
  static constexpr int kBytes = (kGroups + kBlockTiles * kGroupSpace<Codec> + 1023) / 1024 * 1024;
};

LLMKIT_HOST_DEVICE int blocks_of_layer(const LayerArgs& layer) {
  return (layer.weight.row_tiles + kBlockTiles - 1) / kBlockTiles;
}

inline unsigned row_blocks(const ForwardArgs& args) {
  unsigned blocks = 0;
  for (int i = 0; i < args.count; ++i) blocks += blocks_of_layer(args.layers[i]);
  return blocks;
}

/// A layer, the first row tile and the first row of x of a block.
struct Place {
  const LayerArgs* layer;
  int row_tile, m;
};
template <int kXRows>
__device__ __forceinline__ Place place_of_block(const ForwardArgs& args) {
  int index = 0, block = static_cast<int>(blockIdx.y);
  while (block >= blocks_of_layer(args.layers[index]))
    block -= blocks_of_layer(args.layers[index++]);
  return {&args.layers[index], block * kBlockTiles, static_cast<int>(blockIdx.x) * kXRows};
}

/// Queues the copies of a column of tiles into a stage. Row tiles past the end repeat the last one:
/// their results are not stored.
template <class Codec, int kXRows>
__device__ __forceinline__ void copy_stage(const ForwardArgs& args, const Place& place, int tile,
                                           uint32_t stage) {
  const WeightArgs& w = place.layer->weight;
  const int thread = static_cast<int>(threadIdx.x), last = w.row_tiles - 1;
  using Stage = ManyStage<Codec, kXRows>;
  constexpr int kPieces = kTileBytes<Codec> / 16;
#pragma unroll
  for (int i = 0; i < kBlockTiles * kPieces; i += kManyThreads) {
    const int piece = i + thread, row_tile = min(place.row_tile + piece / kPieces, last);
    const size_t index = static_cast<size_t>(row_tile) * w.column_tiles + tile;
    copy_async(stage + Stage::kXBytes + piece * 16,
               w.codes + index * kTileBytes<Codec> + piece % kPieces * 16);
  }
  constexpr int kGroupPieces = (kScaleSpace + kZeroSpace) / 16;
  if (Codec::kScaled && thread < kBlockTiles * kGroupPieces) {
    const int i = thread / kGroupPieces;
    copy_group_piece(w, min(place.row_tile + i, last), tile, true,
                     stage + Stage::kGroups + i * kGroupSpace<Codec>, thread % kGroupPieces);
  }
  const bf16* const x = rows_of_tile(args.x, place.m, tile, w.column_tiles);
#pragma unroll
  for (int i = thread; i < kXRows * 8; i += kManyThreads) copy_async(stage + i * 16, x + i * 8);
}

/// Adds the update to a warp's sums, from `row` of the weight and m of x on, and stores the result.
template <int kBlocks>
__device__ __forceinline__ void finish_and_store(const ForwardArgs& args, const LayerArgs& layer,
                                                 int row, int m, Fragments<kBlocks>& total) {
  if (layer.update.rank > 0) {
    const int P = threadIdx.x % kWarp >> 2;
    Fragments<kBlocks> sums;
    set_zero<kBlocks>(sums);
#pragma unroll
    for (int b = 0; b < 2; ++b)
      multiply_update<kBlocks>(layer.update, row + chunk_row(P, 2 * b),
                               row + chunk_row(P, 2 * b + 1), layer.weight.rows, m, args.m,
                               sums[b]);
    add_to<kBlocks>(total, sums);
  }
  const int lane = threadIdx.x % kWarp, rows = layer.weight.rows;
#pragma unroll
  for (int b = 0; b < 2; ++b)
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int n = row + chunk_row(lane >> 2, 2 * b + (c >> 1));
        const int i = m + 8 * block + 2 * (lane & 3) + (c & 1);
        if (i >= args.m || n >= rows) continue;
        const size_t index = static_cast<size_t>(i) * rows + n;
        store_element(layer.y, index, finish(layer, total[b][block][c], n, index));
      }
}

}  // namespace llmkit::cuda
