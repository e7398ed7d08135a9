#pragma once

#include "cuda/base/warpgroup.h"

namespace llmkit::cuda {

/// Rows of kE bf16 values in shared memory as products of warpgroups read them: panels of 64 values
/// of each row, one after the other, 128 bytes a row. The first row is aligned to 1024.
template <int kE>
struct GroupRows {
  static_assert(kE % 64 == 0, "whole panels");
  static constexpr int kChunks = kE / 8;
  static constexpr uint32_t kPanelBytes = 64 * 128;  // of 64 rows

  __host__ __device__ static constexpr uint32_t bytes(int rows) {
    return static_cast<uint32_t>(rows) * kE * 2;
  }
  /// Where 8 values of one of 64 rows are.
  __host__ __device__ static constexpr uint32_t at(int row, int chunk) {
    return chunk / 8 * kPanelBytes + swizzled_piece(row, chunk % 8);
  }
};

}  // namespace llmkit::cuda
