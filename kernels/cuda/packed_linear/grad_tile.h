#pragma once

#include "cuda/packed_linear/products.h"
#include "cuda/packed_linear/tile.h"
#include "cuda/packed_linear/update.h"

// What the kernels of the gradient share: a block makes 256 columns of the weight x some rows of dy
// with all rows of the weight in ascending order. The scales are those of the rows, which the sums
// run over: they are multiplied into the codes.

namespace llmkit::cuda {

constexpr int kGradThreads = 256, kColumnTiles = 4, kRowTiles = 2;
constexpr int kStageTiles = kColumnTiles * kRowTiles;

/// A stage: rows of dy, then tiles, then their scales and zero points.
template <class Codec, int kDyRows>
struct GradStage {
  static constexpr int kDyBytes = kDyRows * 128;
  static constexpr int kGroups = kDyBytes + kStageTiles * kTileBytes<Codec>;
  static constexpr int kBytes = (kGroups + kStageTiles * kGroupSpace<Codec> + 1023) / 1024 * 1024;
};

/// The tile of a stage that a place in it is for; whether there is such a tile.
struct StageTile {
  int row_tile, column_tile;
  bool valid;
};
__device__ __forceinline__ StageTile tile_of_stage(const WeightArgs& w, int step, int index) {
  const int row = step * kRowTiles + index / kColumnTiles;
  const int column = static_cast<int>(blockIdx.y) * kColumnTiles + index % kColumnTiles;
  return {min(row, w.row_tiles - 1), min(column, w.column_tiles - 1),
          row < w.row_tiles && column < w.column_tiles};
}

/// Queues the copies of two rows of tiles and of the columns of dy that they multiply.
template <class Codec, int kDyRows>
__device__ __forceinline__ void copy_grad_stage(const GradArgs& args, int step, uint32_t stage) {
  const WeightArgs& w = args.weight;
  const int thread = static_cast<int>(threadIdx.x);
  using Stage = GradStage<Codec, kDyRows>;
  constexpr int kPieces = kTileBytes<Codec> / 16;
#pragma unroll
  for (int i = 0; i < kStageTiles * kPieces; i += kGradThreads) {
    const int piece = i + thread;
    const StageTile at = tile_of_stage(w, step, piece / kPieces);
    const size_t index = static_cast<size_t>(at.row_tile) * w.column_tiles + at.column_tile;
    copy_async_or_zero(stage + Stage::kDyBytes + piece * 16,
                       w.codes + index * kTileBytes<Codec> + piece % kPieces * 16, at.valid);
  }
  constexpr int kGroupPieces = (kScaleSpace + kZeroSpace) / 16;
  if (Codec::kScaled && thread < kStageTiles * kGroupPieces) {
    const int i = thread / kGroupPieces;
    const StageTile at = tile_of_stage(w, step, i);
    copy_group_piece(w, at.row_tile, at.column_tile, at.valid,
                     stage + Stage::kGroups + i * kGroupSpace<Codec>, thread % kGroupPieces);
  }
  const bf16* const dy =
      rows_of_tile(args.dy, static_cast<int>(blockIdx.x) * kDyRows, step, args.steps());
#pragma unroll
  for (int i = thread; i < kDyRows * 8; i += kGradThreads) copy_async(stage + i * 16, dy + i * 8);
}

/// The scales of rows (0, 1) and (2, 3) of a chunk, each as two bf16 pairs that add up to it.
struct ScalePairs {
  SplitPair pairs[2];
};

/// code * scale rounded to bf16: the low part of the scale is added before the one rounding that
/// counts.
__device__ __forceinline__ uint32_t scaled(uint32_t codes, const SplitPair& scale) {
  const bf16x2 rest = __hmul2(as_pair(codes), as_pair(scale.low));
  return as_bits(__hfma2(as_pair(codes), as_pair(scale.high), rest));
}

/// A register (k, k + 1) of rows n and n + 1 each, turned into (n, n + 1) of columns k and k + 1.
struct Turned {
  uint32_t first, second;
};
template <class Codec>
__device__ __forceinline__ Turned turn(uint32_t n, uint32_t next, const SplitPair& scale) {
  const uint32_t first = __byte_perm(n, next, 0x5410), second = __byte_perm(n, next, 0x7632);
  if constexpr (!Codec::kScaled) return {first, second};
  return {scaled(first, scale), scaled(second, scale)};
}

template <class Codec>
__device__ __forceinline__ ScalePairs load_scale_pairs(const WeightArgs& w, uint32_t scales,
                                                       int P) {
  ScalePairs pairs = {};
  if constexpr (Codec::kScaled) {
    float scale[4];
    load_scales(w, scales, P, scale);
    pairs = {{split_pair(scale[0], scale[1]), split_pair(scale[2], scale[3])}};
  }
  return pairs;
}

/// The operands a[b] of 16 rows (half 0 or 1) of a tile: registers of mma.m16n8k16, where row g is
/// column chunk_column(g, 2b) of the tile and row g + 8 is chunk_column(g, 2b + 1).
template <class Codec>
__device__ __forceinline__ void decode_half(const WeightArgs& w, uint32_t codes, uint32_t groups,
                                            int half, uint32_t lane_table, uint32_t (&a)[4][4]) {
  const int lane = threadIdx.x % kWarp, g = lane >> 2, P = (lane & 3) + 4 * half;
  uint4 chunk[Codec::kPlanes];
  load_chunk<Codec>(codes, P, g, chunk);
  const int group = w.half_tiles ? g >> 2 : 0;
  const ScalePairs scale = load_scale_pairs<Codec>(w, groups + group * w.scale_stride, P);
  const typename Codec::Zeros zeros =
      load_zeros<Codec>(w, groups + kScaleSpace + group * kTileRows, P);
#pragma unroll
  for (int b = 0; b < 4; ++b) {
    uint32_t r[4];
    Codec::pair(chunk, b, zeros, lane_table, r);
    const Turned low = turn<Codec>(r[0], r[1], scale.pairs[0]);
    const Turned high = turn<Codec>(r[2], r[3], scale.pairs[1]);
    a[b][0] = low.first;
    a[b][1] = low.second;
    a[b][2] = high.first;
    a[b][3] = high.second;
  }
}

/// Adds the update to a warp's sums, whose rows of dy begin at m, and stores them: fragment
/// [b][block][c] is column chunk_column(lane / 4, 2b + c / 2) of its tile, row 8 block + 2 (lane %
/// 4)
/// + c % 2.
template <int kBlocks>
__device__ __forceinline__ void store_grad(const GradArgs& args, int column_tile, int m,
                                           const float (&sums)[4][kBlocks][4]) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int b = 0; b < 4; ++b) {
    const int first = column_tile * kTileColumns + chunk_column(lane >> 2, 2 * b);
    float update[kBlocks][4] = {};
    if (args.update.rank > 0)
      multiply_update<kBlocks>(args.update, first, first + 1, args.cols, m, args.m, update);
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int row = m + 8 * block + 2 * (lane & 3) + (c & 1), k = first + (c >> 1);
        if (row < args.m && k < args.cols)
          args.dx[static_cast<size_t>(row) * args.cols + k] = sums[b][block][c] + update[block][c];
      }
  }
}

template <int kBlocks>
__device__ __forceinline__ void set_zero_sums(float (&sums)[4][kBlocks][4]) {
#pragma unroll
  for (int b = 0; b < 4; ++b)
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int c = 0; c < 4; ++c) sums[b][block][c] = 0;
}

}  // namespace llmkit::cuda
