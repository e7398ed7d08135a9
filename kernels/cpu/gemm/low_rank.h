#pragma once

#include <cstddef>

namespace llmkit {

struct LowRankParts;  // cpu/packed/packed.h

/// What a product adds to its result: low [m, rank] · high, where element (r, n) of high is
/// high[r * rank_step + n * step] and one of the steps is 1. In float32, or where there are `parts`
/// from them alone.
struct LowRank {
  size_t rank;
  const float* low;
  const float* high;
  size_t rank_step, step;
  const LowRankParts* parts = nullptr;
};

/// Rows [row, row + rows) and columns [col, col + cols) of the result, y being that of (row, col).
struct LowRankBlock {
  size_t row, rows, col, cols;
  float* y;
  size_t ldy;
};

/// y += low · high, on this thread. An output's bits do not depend on the block that it is in.
void add_low_rank(const LowRank& sum, const LowRankBlock& block);

}  // namespace llmkit
