#pragma once

#include "cuda/attention/softmax_bf16.h"

// What the kernels of the gradient share. Keys are cut into tiles counted from key 0, and the query
// rows of a key/value head, by_head, into tiles as well.

namespace llmkit::cuda {

/// What the gradient needs besides what the forward pass had.
struct GradParams {
  AttentionParams p;
  const float* log_sum_exp;  // [B, T, H]
  const float* along;        // [B, T, H]: dy · y
  const float* dy;           // [B, T, H, E]
  float *dq, *dk, *dv;
};

/// What the rows of a tile see, and their statistics; in shared memory.
template <int kRows>
struct GradTable {
  int first[kRows], last[kRows];
  float log_sum_exp[kRows], along[kRows], slope[kRows];

  /// Fills it with rows [begin, begin + kRows) of a key/value head. Returns whether this thread's
  /// see any of the keys [low, high].
  __device__ bool fill(const GradParams& g, int b, int kv, int begin, int low, int high, int thread,
                       int threads) {
    bool sees = false;
    for (int i = thread; i < kRows; i += threads) {
      const int row = begin + i;
      first[i] = 0;
      last[i] = -1;
      log_sum_exp[i] = along[i] = slope[i] = 0;
      if (row >= g.p.rows()) continue;
      const size_t position = static_cast<size_t>(b) * g.p.T + g.p.query_of_row(row);
      const size_t query = query_of(g.p, b, kv, row);
      first[i] = max(g.p.first[position], 0);
      last[i] = min(g.p.last[position], g.p.S - 1);
      log_sum_exp[i] = g.log_sum_exp[query];
      along[i] = g.along[query];
      slope[i] = slope_of(g.p, kv, row);
      sees |= first[i] <= last[i] && first[i] <= high && last[i] >= low;
    }
    return sees;
  }

  /// From q · k times the scale, and dy · v, to the weight of a key in row i and the gradient to
  /// the first; both 0 where the row does not see the key.
  template <bool kRounded>
  __device__ __forceinline__ void weigh(const AttentionParams& p, int i, int key, float& product,
                                        float& dweight) const {
    float s = product, bend = 1;
    if (p.softcap > 0) {
      const float t = kRounded ? rough_tanh(s * p.inverse_cap) : tanhf(s * p.inverse_cap);
      s = p.softcap * t;
      bend = 1 - t * t;
    }
    if (p.slopes != nullptr) s = fmaf(slope[i], static_cast<float>(key - last[i]), s);
    const bool seen = key >= first[i] && key <= last[i];
    const float down = s - log_sum_exp[i];
    const float weight = kRounded ? power_of_2(down * kLog2E) : expf(down);
    product = seen ? weight : 0;
    dweight = seen ? weight * (dweight - along[i]) * bend : 0;
  }
};

}  // namespace llmkit::cuda
