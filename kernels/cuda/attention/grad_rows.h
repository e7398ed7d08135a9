#pragma once

#include "cuda/attention/softmax_bf16.h"

// What the kernels of the gradient share. Keys are cut into tiles counted from key 0, and the query
// rows of a key/value head, by_head, into tiles as well.

namespace llmkit::cuda {

/// What a query row sees, and its statistics.
struct alignas(16) GradRow {
  int first, last;    // inside of [0, S); first > last: nothing
  float log_sum_exp;  // of its scores
  float along;        // dy · y
};

/// What the gradient needs besides what the forward pass had.
struct GradParams {
  AttentionParams p;
  const GradRow* rows;  // [B, K, p.rows()]
  const float* dy;      // [B, T, H, E]
  float *dq, *dk, *dv;
};

/// A soft cap's part of scores: tanh(s / cap). It has a loop of its own, for want of registers.
template <bool kRounded, int kCount>
__device__ __forceinline__ void bend(const AttentionParams& p, float (&s)[kCount][4]) {
  if (p.softcap <= 0) return;
#pragma unroll
  for (int i = 0; i < 4 * kCount; ++i) {
    const float t = s[i / 4][i % 4] * p.inverse_cap;
    s[i / 4][i % 4] = kRounded ? rough_tanh(t) : tanhf(t);
  }
}

/// The rows of a tile, in shared memory.
template <int kRows>
struct GradTable {
  GradRow rows[kRows];
  float slope[kRows];  // where there are any

  /// Fills it with rows [begin, begin + kRows) of a key/value head. Returns whether this thread's
  /// see any of the keys [low, high].
  __device__ bool fill(const GradParams& g, int b, int kv, int begin, int low, int high, int thread,
                       int threads) {
    const int count = g.p.rows();
    const GradRow* const from =
        g.rows + (static_cast<size_t>(b) * (g.p.H / g.p.group) + kv) * count;
    bool sees = false;
    for (int i = thread; i < kRows; i += threads) {
      const int row = begin + i;
      const GradRow found = row < count ? from[row] : GradRow{0, -1, 0, 0};
      rows[i] = found;
      if (g.p.slopes != nullptr && row < count) slope[i] = slope_of(g.p, kv, row);
      sees |= found.first <= found.last && found.first <= high && found.last >= low;
    }
    return sees;
  }

  /// From q · k times the scale, bent where there is a soft cap, and dy · v, to the weight of a key
  /// in row i and the gradient to q · k; both 0 where the row does not see the key.
  template <bool kRounded>
  __device__ __forceinline__ void weigh(const AttentionParams& p, int i, int key, float& product,
                                        float& dweight) const {
    const GradRow row = rows[i];
    const bool capped = p.softcap > 0;
    const float slope_of_bend = capped ? 1 - product * product : 1;
    float s = capped ? p.softcap * product : product;
    if (p.slopes != nullptr) s = fmaf(slope[i], static_cast<float>(key - row.last), s);
    const bool seen = key >= row.first && key <= row.last;
    const float down = s - row.log_sum_exp;
    const float weight = kRounded ? power_of_2(down * kLog2E) : expf(down);
    product = seen ? weight : 0;
    dweight = seen ? weight * (dweight - row.along) * slope_of_bend : 0;
  }
};

/// From the products of a tile, q · k and dy · v, to the weights and the gradients to q · k. Query
/// rows are the rows of the tile, from `row` of the table on, and keys from `key` on its columns;
/// or with kKeyRows the other way round.
template <bool kKeyRows, int kRows, int kCount>
__device__ __forceinline__ void weigh_tile(const GradTable<kRows>& table, const AttentionParams& p,
                                           int row, int key, int lane, float (&s)[kCount][4],
                                           float (&dweight)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < 4 * kCount; ++i) s[i / 4][i % 4] *= p.scale;
  bend<true>(p, s);
#pragma unroll
  for (int i = 0; i < 4 * kCount; ++i) {
    // Keeps the compiler from holding many values in registers.
    if (i % 4 == 0) __syncwarp();
    const int down = i % 4 / 2 * 8 + tile_row(lane), along = i / 4 * 8 + tile_column(lane) + i % 2;
    table.template weigh<true>(p, row + (kKeyRows ? along : down), key + (kKeyRows ? down : along),
                               s[i / 4][i % 4], dweight[i / 4][i % 4]);
  }
}

}  // namespace llmkit::cuda
