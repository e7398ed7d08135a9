#pragma once

#include "cuda/activation/functions.h"
#include "cuda/packed_linear/products.h"
#include "cuda/packed_linear/tile.h"
#include "cuda/packed_linear/update.h"

// What the kernels for many rows share: a block makes 128 rows of the weight x some rows of x by a
// ring of stages of 64 columns, a stage being rows of x, tiles, then their scales and zero points.
// Where a layer gates another, half of the 128 rows are of the one and half of the other, the same
// rows of both.

namespace llmkit::cuda {

template <class Codec, int kXRows>
struct ManyStage {
  static constexpr int kXBytes = kXRows * 128;
  static constexpr int kGroups = kXBytes + kBlockTiles * kTileBytes<Codec>;
  static constexpr int kBytes = (kGroups + kBlockTiles * kGroupSpace<Codec> + 1023) / 1024 * 1024;
};

/// Tiles of each layer in a block.
LLMKIT_HOST_DEVICE int tiles_of_block(const LayerArgs& layer) {
  return layer.ending == Ending::kGates ? kBlockTiles / 2 : kBlockTiles;
}
LLMKIT_HOST_DEVICE int blocks_of_layer(const LayerArgs& layer) {
  const int tiles = tiles_of_block(layer);
  return (layer.weight.row_tiles + tiles - 1) / tiles;
}

inline unsigned row_blocks(const ForwardArgs& args) {
  unsigned blocks = 0;
  for (int i = 0; i < args.count; ++i) blocks += blocks_of_layer(args.layers[i]);
  return blocks;
}

/// One of the tiles of a block, which may be past the end.
struct TilePlace {
  const LayerArgs* layer;
  int row_tile;
};

/// The layer, or the first of two, the first row tile and the first row of x of a block.
struct Place {
  const LayerArgs* layer;
  int row_tile, m;

  __device__ __forceinline__ TilePlace tile(int i) const {
    constexpr int kHalf = kBlockTiles / 2;
    if (layer->ending != Ending::kGates) return {layer, row_tile + i};
    return {layer + i / kHalf, row_tile + i % kHalf};
  }
};
template <int kXRows>
__device__ __forceinline__ Place place_of_block(const ForwardArgs& args) {
  int index = 0, block = static_cast<int>(blockIdx.y);
  while (block >= blocks_of_layer(args.layers[index]))
    block -= blocks_of_layer(args.layers[index++]);
  const LayerArgs& layer = args.layers[index];
  return {&layer, block * tiles_of_block(layer), static_cast<int>(blockIdx.x) * kXRows};
}

/// Queues the copies of a column of tiles into a stage. Row tiles past the end repeat the last one:
/// their results are not stored.
template <class Codec, int kXRows>
__device__ __forceinline__ void copy_stage(const ForwardArgs& args, const Place& place, int tile,
                                           uint32_t stage) {
  const int thread = static_cast<int>(threadIdx.x), last = place.layer->weight.row_tiles - 1;
  using Stage = ManyStage<Codec, kXRows>;
  constexpr int kPieces = kTileBytes<Codec> / 16;
#pragma unroll
  for (int i = 0; i < kBlockTiles * kPieces; i += kManyThreads) {
    const int piece = i + thread;
    const TilePlace at = place.tile(piece / kPieces);
    const WeightArgs& w = at.layer->weight;
    const size_t index = static_cast<size_t>(min(at.row_tile, last)) * w.column_tiles + tile;
    copy_async(stage + Stage::kXBytes + piece * 16,
               w.codes + index * kTileBytes<Codec> + piece % kPieces * 16);
  }
  constexpr int kGroupPieces = (kScaleSpace + kZeroSpace) / 16;
  if (Codec::kScaled && thread < kBlockTiles * kGroupPieces) {
    const int i = thread / kGroupPieces;
    const TilePlace at = place.tile(i);
    copy_group_piece(at.layer->weight, min(at.row_tile, last), tile, true,
                     stage + Stage::kGroups + i * kGroupSpace<Codec>, thread % kGroupPieces);
  }
  const bf16* const x = rows_of_tile(args.x, place.m, tile, place.layer->weight.column_tiles);
#pragma unroll
  for (int i = thread; i < kXRows * 8; i += kManyThreads) copy_async(stage + i * 16, x + i * 8);
}

/// Adds the update to a warp's sums, from `row` of the weight and m of x on.
template <int kBlocks>
__device__ __forceinline__ void add_update(const ForwardArgs& args, const LayerArgs& layer, int row,
                                           int m, Fragments<kBlocks>& total) {
  if (layer.update.rank == 0) return;
  const int P = threadIdx.x % kWarp >> 2;
  Fragments<kBlocks> sums;
  set_zero<kBlocks>(sums);
#pragma unroll
  for (int b = 0; b < 2; ++b)
    multiply_update<kBlocks>(layer.update, row + chunk_row(P, 2 * b), row + chunk_row(P, 2 * b + 1),
                             layer.weight.rows, m, args.m, sums[b]);
  add_to<kBlocks>(total, sums);
}

/// Stores a warp's sums as the result.
template <int kBlocks>
__device__ __forceinline__ void store_sums(const ForwardArgs& args, const LayerArgs& layer, int row,
                                           int m, const Fragments<kBlocks>& total) {
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

/// Stores f of the sums of the block, which lie in shared memory, of its rows of x from place.m on;
/// a gate's with what it gates.
template <int kXRows>
__device__ __forceinline__ void store_activated(const ForwardArgs& args, const Place& place,
                                                const float* sums) {
  constexpr int kBlocks = kXRows * kBlockTiles / (kManyThreads / kWarp) / 8;
  const LayerArgs& layer = *place.layer;
  const bool gates = layer.ending == Ending::kGates;
  const int block_rows = tiles_of_block(layer) * kTileRows, rows = layer.weight.rows;
  for (int i = threadIdx.x; i < block_rows * kXRows; i += kManyThreads) {
    const int row = i % block_rows, m = i / block_rows;
    const int n = place.row_tile * kTileRows + row;
    if (place.m + m >= args.m || n >= rows) continue;
    const size_t index = static_cast<size_t>(place.m + m) * rows + n;
    const float sum = sums[place_of_sum<kBlocks>(row, m)];
    float value = activate(layer.f, finish(layer, sum, n, index));
    if (gates)
      value *= finish(place.layer[1], sums[place_of_sum<kBlocks>(row + block_rows, m)], n, index);
    store_element(layer.y, index, value);
  }
}

/// Ends the sums of a warp, `total`, and stores the results of the block; `shared` is memory that
/// no warp reads any more, `meet` a barrier of the kManyThreads threads.
template <int kXRows, int kBlocks, class Meet>
__device__ __forceinline__ void finish_block(const ForwardArgs& args, const Place& place,
                                             float* shared, const Meet& meet,
                                             Fragments<kBlocks>& total) {
  const int warp = threadIdx.x / kWarp;
  const TilePlace tile = place.tile(warp % kBlockTiles);
  const int row = tile.row_tile * kTileRows, m = place.m + warp / kBlockTiles * 8 * kBlocks;
  add_update<kBlocks>(args, *tile.layer, row, m, total);
  if (place.layer->ending == Ending::kSums) {
    store_sums<kBlocks>(args, *tile.layer, row, m, total);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8 * kBlocks; ++i)
    shared[i * kManyThreads + threadIdx.x] = total[i / (4 * kBlocks)][i / 4 % kBlocks][i % 4];
  meet();
  store_activated<kXRows>(args, place, shared);
}

}  // namespace llmkit::cuda
