#include "cpu/gemm/low_rank.h"

#include <algorithm>

#include "cpu/gemm/gemm.h"

namespace llmkit {
namespace {

/// Columns, and ranks, of the part of high that is turned into rows at a time.
constexpr size_t kPart = 64;

}  // namespace

void add_low_rank(const LowRank& sum, const LowRankBlock& block) {
  const float* const low = sum.low + block.row * sum.rank;
  if (sum.step == 1)
    return gemm_f32().axpy({block.rows, block.cols, sum.rank, low, sum.rank, 1,
                            sum.high + block.col, sum.rank_step, block.y, block.ldy, true});
  alignas(64) float high[kPart * kPart];
  for (size_t col = 0; col < block.cols; col += kPart)
    for (size_t rank = 0; rank < sum.rank; rank += kPart) {
      const size_t cols = std::min(kPart, block.cols - col), k = std::min(kPart, sum.rank - rank);
      const float* const from = sum.high + (block.col + col) * sum.step + rank * sum.rank_step;
      for (size_t n = 0; n < cols; ++n)
        for (size_t r = 0; r < k; ++r)
          high[r * kPart + n] = from[n * sum.step + r * sum.rank_step];
      gemm_f32().axpy({block.rows, cols, k, low + rank, sum.rank, 1, high, kPart, block.y + col,
                       block.ldy, true});
    }
}

}  // namespace llmkit
