#pragma once

#include "cuda/base/instructions.h"
#include "cuda/gemm_bf16/gemm_bf16.h"

// Device code: tiles of an operand of the bf16 product in shared memory, and the fragments of
// mma.m16n8k16 in them.

namespace llmkit::cuda {

/// k of a tile.
constexpr int kBf16Depth = 32;

/// [kWidth, kBf16Depth] elements of an operand in chunks of 8, stored as in global memory: along k
/// or, with kAcross, along i. Chunks trade places so that eight rows of a fragment lie in
/// different banks.
template <int kWidth, bool kAcross>
struct Bf16Tile {
  static constexpr int kChunks = kWidth * kBf16Depth / 8, kBytes = kChunks * 16;
  static constexpr int kRowChunks = (kAcross ? kWidth : kBf16Depth) / 8;

  /// The offset in bytes of chunk `chunk` of row `row`; rows run along i, or with kAcross along k.
  static __host__ __device__ __forceinline__ int offset(int row, int chunk) {
    const int turn = kAcross ? row & 7 : row >> 1 & 3;
    return (row * kRowChunks + (chunk ^ turn)) * 16;
  }

  /// Copies the tile at (first, k) of an operand of `count` rows and `depth` k; zeros outside.
  template <int kThreads>
  static __device__ __forceinline__ void copy(uint32_t tile, const Bf16Operand& from, size_t first,
                                              size_t count, size_t k, size_t depth) {
#pragma unroll
    for (int id = threadIdx.x; id < kChunks; id += kThreads) {
      const int row = id / kRowChunks, chunk = id % kRowChunks;
      const size_t outer = (kAcross ? k : first) + row, inner = (kAcross ? first : k) + chunk * 8;
      const bool inside = outer < (kAcross ? depth : count) && inner < (kAcross ? count : depth);
      const bf16* const source = from.values + (inside ? outer * from.step + inner : 0);
      copy_async_or_zero(tile + offset(row, chunk), source, inside);
    }
  }

  /// Four 8x8 blocks: rows i.. and i + 8.. where bit `i_bit` of the lane's matrix is set, the k of
  /// step `step` (16 each) and 8 further where `k_bit` is.
  static __device__ __forceinline__ void load(uint32_t (&r)[4], uint32_t tile, int i, int step,
                                              int i_bit, int k_bit) {
    const int lane = threadIdx.x % kWarp, matrix = lane / 8;
    const int i_more = matrix >> i_bit & 1, k_more = matrix >> k_bit & 1;
    if constexpr (kAcross)
      load_matrices_transposed(r, tile + offset(16 * step + 8 * k_more + lane % 8, i / 8 + i_more));
    else
      load_matrices(r, tile + offset(i + 8 * i_more + lane % 8, 2 * step + k_more));
  }
};

}  // namespace llmkit::cuda
