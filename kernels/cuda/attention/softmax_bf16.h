#pragma once

#include "cuda/attention/softmax.h"
#include "cuda/attention/tiles_bf16.h"

// The softmax of tiles of scores in the registers of a warp. Scores are in units of log 2, so that
// weights are powers of 2.

namespace llmkit::cuda {

/// How products become scores: by a factor alone where there is neither a cap nor a slope.
struct ScoreRule {
  bool plain;
  float factor;  // of a product, its sign being in q

  __device__ explicit ScoreRule(const AttentionParams& p)
      : plain(p.softcap <= 0 && p.slopes == nullptr && p.scale != 0),
        factor(plain ? fabsf(p.scale) * kLog2E : 1) {}
};
/// What q is multiplied by when it is read.
__device__ __forceinline__ float query_sign(const AttentionParams& p) {
  return p.scale < 0 ? -1.0f : 1.0f;
}

/// tanh to about 2^-22: far nearer than products of bf16 are.
__device__ __forceinline__ float rough_tanh(float x) {
  return 1 - __fdividef(2.0f, power_of_2(x * (2 * kLog2E)) + 1);
}

/// A score that is not plain, in units of log 2; s is the product times the scale.
__device__ __forceinline__ float bent_score(const AttentionParams& p, float s, float slope,
                                            int distance) {
  if (p.softcap > 0) s = p.softcap * rough_tanh(s * p.inverse_cap);
  return fmaf(slope, static_cast<float>(distance), s) * kLog2E;
}

/// What the rows of a warp see: keys that any of them sees, and keys that all of them see.
struct SeenLimits {
  int any_first, any_last, all_first, all_last;
};

/// What a warp's rows [begin, begin + 16 * kTiles) of one sequence see; those of others see
/// nothing. It stays in shared memory for want of registers.
template <int kRows>
struct SeenRows {
  const RowTable<kRows>& rows;
  SeenLimits& limits;
  int begin, start;

  /// `count` rows of sequence `start`; the warp fills `limits`.
  __device__ __forceinline__ SeenRows(const RowTable<kRows>& table, SeenLimits& to, int warp_row,
                                      int count, int sequence, int lane)
      : rows(table), limits(to), begin(warp_row), start(sequence) {
    const int row = warp_row + min(lane, count - 1);
    const bool here = rows.start[row] == start;
    const int first = here ? rows.first[row] : kNoSequence, last = here ? rows.last[row] : -1;
    const SeenLimits found = {least_of_warp(first), -least_of_warp(-last), -least_of_warp(-first),
                              least_of_warp(last)};
    if (lane == 0) limits = found;
    __syncwarp();
  }
  __device__ __forceinline__ bool any(int from, int to) const {
    return limits.any_first <= to && limits.any_last >= from;
  }
  __device__ __forceinline__ bool all(int from, int to) const {
    return limits.all_first <= from && limits.all_last >= to;
  }
};

/// Products to scores, where they are not plain: the rows' heads have slopes. `row` is that of the
/// tile's first one in its head.
template <int kTiles, int kRows>
__device__ __forceinline__ void bend_scores(float (&s)[kTiles][kBlockKeys / 8][4],
                                            const AttentionParams& p, const SeenRows<kRows>& seen,
                                            int kv, int row, int key, int lane) {
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = tile * 16 + half * 8 + tile_row(lane);
      const float slope = slope_of(p, kv, row + at);
      const int from = key + tile_column(lane) - seen.rows.last[seen.begin + at];
#pragma unroll
      for (int n = 0; n < kBlockKeys / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = s[tile][n][2 * half + i];
          score = bent_score(p, score * fabsf(p.scale), slope, from + 8 * n + i);
        }
    }
}

template <int kTiles, int kRows>
__device__ __forceinline__ void hide_scores(float (&s)[kTiles][kBlockKeys / 8][4],
                                            const SeenRows<kRows>& seen, int key, int lane) {
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = seen.begin + tile * 16 + half * 8 + tile_row(lane);
      const bool here = seen.rows.start[row] == seen.start;
      const int from = key + tile_column(lane);
      const int first = seen.rows.first[row] - from;
      const int last = here ? seen.rows.last[row] - from : -1 - from;
#pragma unroll
      for (int n = 0; n < kBlockKeys / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = s[tile][n][2 * half + i];
          score = 8 * n + i >= first && 8 * n + i <= last ? score : -INFINITY;
        }
    }
}

__device__ __forceinline__ float largest_of_row(float value) {
  value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}
__device__ __forceinline__ float sum_of_row(float value) {
  value += __shfl_xor_sync(kAllLanes, value, 1);
  return value + __shfl_xor_sync(kAllLanes, value, 2);
}

/// Turns the scores of a block into weights; `factor` as in ScoreRule.
template <int kTiles>
__device__ __forceinline__ void make_weights(float (&s)[kTiles][kBlockKeys / 8][4], float factor,
                                             Softmax (&block)[kTiles][2]) {
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = -INFINITY, total = 0;
#pragma unroll
      for (int n = 0; n < kBlockKeys / 8; ++n)
        most = fmaxf(most, fmaxf(s[tile][n][2 * half], s[tile][n][2 * half + 1]));
      most = largest_of_row(most) * factor;
      const float shift = shift_of(most);
#pragma unroll
      for (int n = 0; n < kBlockKeys / 8; ++n)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          s[tile][n][i] = power_of_2(fmaf(s[tile][n][i], factor, -shift));
          total += s[tile][n][i];
        }
      block[tile][half] = {most, sum_of_row(total)};
    }
}

/// Everything between the products of a block of keys and its weights.
template <int kTiles, int kRows>
__device__ __forceinline__ void softmax_of_block(float (&s)[kTiles][kBlockKeys / 8][4],
                                                 const AttentionParams& p, const ScoreRule& rule,
                                                 const SeenRows<kRows>& seen, int kv, int row,
                                                 int key, int lane, Softmax (&block)[kTiles][2]) {
  if (!rule.plain) bend_scores(s, p, seen, kv, row, key, lane);
  if (!seen.all(key, key + kBlockKeys - 1)) hide_scores(s, seen, key, lane);
  make_weights(s, rule.factor, block);
}

}  // namespace llmkit::cuda
