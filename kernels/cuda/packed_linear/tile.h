#pragma once

#include "cuda/packed_linear/codecs.h"
#include "cuda/packed_linear/groups.h"

// The arithmetic of the forward product, the same in every kernel: a chain of matrix instructions
// from zero over the columns of a group, ascending; slice = fma(chain, scale, slice); the slices of
// layout.h added in order; then the update, the bias, the residual.

namespace llmkit::cuda {

/// The sums of a warp for 32 rows of the weight and 8 * kBlocks rows of x: fragment [b][block][c]
/// is row chunk_row(lane / 4, 2b + c / 2) of the tile, row 8 block + 2 (lane % 4) + c % 2 of x.
template <int kBlocks>
using Fragments = float[2][kBlocks][4];

template <int kBlocks>
__device__ __forceinline__ void set_zero(Fragments<kBlocks>& sums) {
#pragma unroll
  for (int b = 0; b < 2; ++b)
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int c = 0; c < 4; ++c) sums[b][block][c] = 0;
}

template <int kBlocks>
__device__ __forceinline__ void add_to(Fragments<kBlocks>& total, const Fragments<kBlocks>& sums) {
#pragma unroll
  for (int b = 0; b < 2; ++b)
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int c = 0; c < 4; ++c) total[b][block][c] += sums[b][block][c];
}

/// The same columns of x as those of a tile, in shared memory, the warp's rows from `first` on.
struct SharedRows {
  uint32_t x;
  int first;

  /// 16 bytes of the row that this lane reads for load_matrices.
  __device__ __forceinline__ uint32_t piece(int block, int lane, int piece) const {
    return x_address(x, first + 8 * block + (lane & 7), piece);
  }
};

/// A tile of the weight and the columns of x, addresses in shared memory.
template <class Rows>
struct SharedTile {
  uint32_t codes, groups;
  Rows x;
};

/// Adds the chain of a group that has ended.
template <class Codec, int kBlocks>
__device__ __forceinline__ void add_chain(const WeightArgs& w, uint32_t scales, int P,
                                          const Fragments<kBlocks>& chain,
                                          Fragments<kBlocks>& slice) {
  if constexpr (!Codec::kScaled) {
    add_to<kBlocks>(slice, chain);
  } else {
    float scale[4];
    load_scales(w, scales, P, scale);
#pragma unroll
    for (int b = 0; b < 2; ++b)
#pragma unroll
      for (int block = 0; block < kBlocks; ++block)
#pragma unroll
        for (int c = 0; c < 4; ++c)
          slice[b][block][c] =
              fmaf(chain[b][block][c], scale[2 * b + (c >> 1)], slice[b][block][c]);
  }
}

template <class Codec, int kBlocks>
__device__ __forceinline__ void end_group(const WeightArgs& w, uint32_t scales, int P,
                                          Fragments<kBlocks>& chain, Fragments<kBlocks>& slice) {
  add_chain<Codec, kBlocks>(w, scales, P, chain, slice);
  set_zero<kBlocks>(chain);
}

template <class Codec>
__device__ __forceinline__ typename Codec::Zeros load_zeros(const WeightArgs& w, uint32_t zeros,
                                                            int P) {
  if (w.zeros == nullptr) return Codec::usual_zeros();
  return Codec::zeros(load_shared_4(zeros + P * 4));
}

/// The chunk of (P, Q) of a tile in shared memory.
template <class Codec>
__device__ __forceinline__ void load_chunk(uint32_t codes, int P, int Q,
                                           uint4 (&chunk)[Codec::kPlanes]) {
#pragma unroll
  for (int plane = 0; plane < Codec::kPlanes; ++plane)
    chunk[plane] = load_shared_16(codes + plane * kPlaneBytes + chunk_slot(P, Q) * kChunkBytes);
}

/// The operands of 32 columns (half 0 or 1) of a tile: a[2 step + b] has 16 rows, chunk_row(g, 2b)
/// in row g and chunk_row(g, 2b + 1) in row g + 8, and 16 columns.
template <class Codec>
__device__ __forceinline__ void decode_rows(const WeightArgs& w, uint32_t codes, uint32_t groups,
                                            int half, uint32_t lane_table, uint32_t (&a)[4][4]) {
  const int lane = threadIdx.x % kWarp, g = lane >> 2, t = lane & 3;
  uint4 chunk[Codec::kPlanes];
  load_chunk<Codec>(codes, g, t + 4 * half, chunk);
  const uint32_t zeros = groups + kScaleSpace + (w.half_tiles ? half * kTileRows : 0);
  const typename Codec::Zeros zero = load_zeros<Codec>(w, zeros, g);
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    uint32_t low[4], high[4];
    Codec::pair(chunk, 2 * step, zero, lane_table, low);
    Codec::pair(chunk, 2 * step + 1, zero, lane_table, high);
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      a[2 * step + b][0] = low[2 * b];
      a[2 * step + b][1] = low[2 * b + 1];
      a[2 * step + b][2] = high[2 * b];
      a[2 * step + b][3] = high[2 * b + 1];
    }
  }
}

/// chain += 32 columns (half 0 or 1) of a tile.
template <class Codec, int kBlocks, class Rows>
__device__ __forceinline__ void multiply_half(const WeightArgs& w, const SharedTile<Rows>& tile,
                                              int half, uint32_t lane_table,
                                              Fragments<kBlocks>& chain) {
  const int lane = threadIdx.x % kWarp;
  uint32_t x[kBlocks][4], a[4][4];
#pragma unroll
  for (int block = 0; block < kBlocks; ++block)
    load_matrices(x[block], tile.x.piece(block, lane, 4 * half + (lane >> 3)));
  decode_rows<Codec>(w, tile.codes, tile.groups, half, lane_table, a);
#pragma unroll
  for (int step = 0; step < 2; ++step)
#pragma unroll
    for (int b = 0; b < 2; ++b)
#pragma unroll
      for (int block = 0; block < kBlocks; ++block)
        multiply_add(chain[b][block], a[2 * step + b], x[block][2 * step], x[block][2 * step + 1]);
}

/// A whole tile: chains go on from the tile before it, or end here.
template <class Codec, int kBlocks, class Rows>
__device__ __forceinline__ void multiply_tile(const WeightArgs& w, const SharedTile<Rows>& tile,
                                              bool ends_group, uint32_t lane_table,
                                              Fragments<kBlocks>& chain,
                                              Fragments<kBlocks>& slice) {
  const int P = threadIdx.x % kWarp >> 2;
  multiply_half<Codec, kBlocks>(w, tile, 0, lane_table, chain);
  if (Codec::kScaled && w.half_tiles) end_group<Codec, kBlocks>(w, tile.groups, P, chain, slice);
  multiply_half<Codec, kBlocks>(w, tile, 1, lane_table, chain);
  if (!ends_group) return;
  const uint32_t scales = tile.groups + (w.half_tiles ? w.scale_stride : 0);
  end_group<Codec, kBlocks>(w, scales, P, chain, slice);
}

}  // namespace llmkit::cuda
