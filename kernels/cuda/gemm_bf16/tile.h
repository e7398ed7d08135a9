#pragma once

#include "cuda/base/instructions.h"
#include "cuda/gemm_bf16/gemm_bf16.h"
#include "cuda/gemm_bf16/tile_place.h"

// Device code: tiles of an operand of the bf16 product in shared memory, and the fragments of
// mma.m16n8k16 in them.

namespace llmkit::cuda {

/// A tile as Bf16TilePlace has it.
template <int kWidth, bool kAcross>
struct Bf16Tile : Bf16TilePlace<kWidth, kAcross> {
  using Place = Bf16TilePlace<kWidth, kAcross>;
  using Place::kChunks, Place::kRowChunks, Place::offset;

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

  /// Four 8x8 blocks, as Place::of_lane says.
  static __device__ __forceinline__ void load(uint32_t (&r)[4], uint32_t tile, int i, int step,
                                              int i_bit, int k_bit) {
    const uint32_t at = tile + Place::of_lane(threadIdx.x % kWarp, i, step, i_bit, k_bit);
    if constexpr (kAcross)
      load_matrices_transposed(r, at);
    else
      load_matrices(r, at);
  }
};

}  // namespace llmkit::cuda
