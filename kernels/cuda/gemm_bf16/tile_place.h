#pragma once

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// k of a tile.
constexpr int kBf16Depth = 32;

/// Where [kWidth, kBf16Depth] elements of an operand lie in shared memory: in chunks of 8, stored
/// as in global memory, along k or, with kAcross, along i. Chunks trade places so that eight rows
/// of a fragment lie in different banks.
template <int kWidth, bool kAcross>
struct Bf16TilePlace {
  static constexpr int kChunks = kWidth * kBf16Depth / 8, kBytes = kChunks * 16;
  static constexpr int kRowChunks = (kAcross ? kWidth : kBf16Depth) / 8;

  /// The offset in bytes of chunk `chunk` of row `row`; rows run along i, or with kAcross along k.
  static __host__ __device__ __forceinline__ int offset(int row, int chunk) {
    const int turn = kAcross ? row & 7 : row >> 1 & 3;
    return (row * kRowChunks + (chunk ^ turn)) * 16;
  }

  /// The offset that a lane gives to load four 8x8 blocks, transposed with kAcross: rows i.. and
  /// i + 8.. where bit `i_bit` of the lane's matrix is set, the k of step `step` (16 each) and 8
  /// further where `k_bit` is.
  static __host__ __device__ __forceinline__ int of_lane(int lane, int i, int step, int i_bit,
                                                         int k_bit) {
    const int matrix = lane / 8, i_more = matrix >> i_bit & 1, k_more = matrix >> k_bit & 1;
    if (kAcross) return offset(16 * step + 8 * k_more + lane % 8, i / 8 + i_more);
    return offset(i + 8 * i_more + lane % 8, 2 * step + k_more);
  }
};

}  // namespace llmkit::cuda
