#pragma once

#include "cuda/packed_linear/codecs.h"
#include "cuda/packed_linear/packed_linear.h"

namespace llmkit::cuda {

/// Two values as the bf16 pairs whose sum they are but for about 2^-17 of them.
struct SplitPair {
  uint32_t high, low;
};

__device__ __forceinline__ SplitPair split_pair(float first, float second) {
  const uint32_t high = pack_bf16(first, second);
  const float2 rest = __bfloat1622float2(as_pair(high));
  return {high, pack_bf16(first - rest.x, second - rest.y)};
}

/// Elements (row, r) and (row, r + 1) of the factor [.., rank] of an update, 0 outside of it.
__device__ __forceinline__ SplitPair factor_pair(const float* factor, size_t row_step,
                                                 size_t rank_step, size_t rank, int row, int rows,
                                                 size_t r) {
  const float* const at = factor + row * row_step + r * rank_step;
  const bool inside = row < rows;
  return split_pair(inside && r < rank ? at[0] : 0.0f,
                    inside && r + 1 < rank ? at[rank_step] : 0.0f);
}

/// What an operand of 16 results and 16 of the rank is: rows `first` (g) and `second` (g + 8).
struct SplitOperand {
  uint32_t high[4], low[4];
};

/// sum [block] += high · low of the update for two rows of `high` and the rows m0 + 8 block of
/// `low`.
template <int kBlocks>
__device__ __forceinline__ void multiply_update(const LowRank& update, int first, int second,
                                                int results, int m0, int m,
                                                float (&sum)[kBlocks][4]) {
  const int lane = threadIdx.x % kWarp, g = lane >> 2, t = lane & 3;
  for (size_t step = 0; step < update.rank; step += 16) {
    const size_t r = step + 2 * t;
    SplitOperand a;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const SplitPair pair = factor_pair(update.high, update.step, update.rank_step, update.rank,
                                         (i & 1) == 0 ? first : second, results, r + 8 * (i >> 1));
      a.high[i] = pair.high;
      a.low[i] = pair.low;
    }
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      SplitPair b[2];
#pragma unroll
      for (int i = 0; i < 2; ++i)
        b[i] =
            factor_pair(update.low, update.rank, 1, update.rank, m0 + 8 * block + g, m, r + 8 * i);
      multiply_add(sum[block], a.high, b[0].high, b[1].high);
      multiply_add(sum[block], a.high, b[0].low, b[1].low);
      multiply_add(sum[block], a.low, b[0].high, b[1].high);
    }
  }
}

}  // namespace llmkit::cuda
