#pragma once

#include "cuda/base/cuda.h"

// Where the values of attention's tiles lie, in shared memory and in the registers of a warp.

namespace llmkit::cuda {

/// Rows of kE bf16 values in shared memory, so that 8 neighbouring rows have the same 16 bytes of
/// columns in different banks: 16 bytes lie between rows, whose addresses are then one register and
/// constants. The widest rows have no room for that: the places of 16 bytes are turned instead.
template <int kE>
struct SharedRows {
  static_assert(kE % 16 == 0, "rows are whole steps of mma.m16n8k16");
  static constexpr int kChunks = kE / 8;
  static constexpr bool kTurned = kE > 128;
  static constexpr int kPitch = 2 * kE + (kTurned ? 0 : 16);

  __host__ __device__ static constexpr size_t bytes(int rows) {
    return static_cast<size_t>(rows) * kPitch;
  }
  /// Where 8 values of a row are.
  __host__ __device__ static constexpr uint32_t at(int row, int chunk) {
    const int place = kTurned ? chunk / 8 * 8 + (chunk % 8 ^ row % 8) : chunk;
    return static_cast<uint32_t>(row * kPitch + place * 16);
  }
};

/// The values and rows that the registers of a warp's mma tile hold: c[0], c[1] are columns
/// column(lane) and the next one of row(lane), c[2] and c[3] those of the row 8 further on.
__host__ __device__ constexpr int tile_row(int lane) { return lane / 4; }
__host__ __device__ constexpr int tile_column(int lane) { return lane % 4 * 2; }

/// The row and the chunk that a lane addresses of a 16x16 operand: A from [row][k], and B from
/// [k][column] with load_matrices_transposed.
__host__ __device__ constexpr int operand_row(int lane) { return lane / 8 % 2 * 8 + lane % 8; }
__host__ __device__ constexpr int operand_chunk(int lane) { return lane / 16; }
/// The same for B from [column][k].
__host__ __device__ constexpr int columns_row(int lane) { return lane / 16 * 8 + lane % 8; }
__host__ __device__ constexpr int columns_chunk(int lane) { return lane / 8 % 2; }

}  // namespace llmkit::cuda
