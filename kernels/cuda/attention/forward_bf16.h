#pragma once

#include "cuda/attention/read_rows.h"
#include "cuda/attention/softmax_bf16.h"

// What the kernels of the rounded forward pass share.

namespace llmkit::cuda {

/// Query rows [begin, begin + kRows) as bf16 in shared memory, zeros after the last one.
template <int kE, int kRows>
__device__ inline void load_queries(char* to, const AttentionParams& p, int b, int kv, int begin,
                                    int thread, int threads) {
  using Rows = SharedRows<kE>;
  const int count = p.rows();
  for (int i = thread; i < kRows * Rows::kChunks; i += threads) {
    const int row = i / Rows::kChunks, chunk = i % Rows::kChunks;
    float x[8] = {};
    if (begin + row < count) {
      const size_t at = query_of(p, b, kv, begin + row) * p.E;
      if (p.q.is_bf16)
        read_floats(static_cast<const bf16*>(p.q.data) + at, chunk * 8, p.E, x);
      else
        read_floats(p.float_q() + at, chunk * 8, p.E, x);
    }
    *reinterpret_cast<uint4*>(to + Rows::at(row, chunk)) = packed(x, query_sign(p));
  }
}

/// Puts the softmax of a block with that of a warp's rows so far, which stays in shared memory for
/// want of registers; `factors` is what the sums of both are multiplied by.
template <int kTiles>
__device__ __forceinline__ void add_softmax(const Softmax (&block)[kTiles][2], int lane,
                                            Softmax* softmax, Rescale (&factors)[kTiles][2]) {
  Softmax all[kTiles][2];
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i) {
    all[i / 2][i % 2] = softmax[8 * i + tile_row(lane)];
    factors[i / 2][i % 2] = add_block<true>(all[i / 2][i % 2], block[i / 2][i % 2]);
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i)
    if (lane % 4 == 0) softmax[8 * i + tile_row(lane)] = all[i / 2][i % 2];
}

/// What a warp has summed up of kColumns columns of its rows.
template <int kTiles, int kColumns>
struct RowSums {
  float values[kTiles][kColumns / 8][4];

  __device__ __forceinline__ RowSums() {
#pragma unroll
    for (int i = 0; i < kTiles * kColumns / 2; ++i)
      values[i / (kColumns / 2)][i / 4 % (kColumns / 8)][i % 4] = 0;
  }

  /// Puts what is known on a new scale, which most blocks do not change.
  __device__ __forceinline__ void rescale(const Rescale (&factors)[kTiles][2]) {
    bool changed = false;
#pragma unroll
    for (int i = 0; i < 2 * kTiles; ++i) changed |= factors[i / 2][i % 2].before != 1;
    if (!__any_sync(kAllLanes, changed)) return;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) values[tile][n][i] *= factors[tile][i / 2].before;
  }

  /// Adds what a block of keys gives columns [8 * n, 8 * n + 8).
  __device__ __forceinline__ void add(int tile, int n, const float (&part)[4],
                                      const Rescale (&factors)[2]) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      values[tile][n][i] = fmaf(part[i], factors[i / 2].block, values[tile][n][i]);
  }

  /// Writes the results of rows from `warp_row` on, in columns from `begin` on.
  __device__ __forceinline__ void write(const AttentionParams& p, int b, int kv, int warp_row,
                                        int begin, int lane, const Softmax* softmax,
                                        const Elements& y, float* log_sum_exp) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = warp_row + tile * 16 + half * 8 + tile_row(lane);
        if (row >= p.rows()) continue;
        const size_t query = query_of(p, b, kv, row);
        const Softmax all = softmax[tile * 16 + half * 8 + tile_row(lane)];
        const float inverse = inverse_total<true>(all);
        if (log_sum_exp != nullptr && begin == 0 && lane % 4 == 0)
          log_sum_exp[query] = log_of_sum<true>(all);
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) {
          const int column = begin + 8 * n + tile_column(lane);
          const size_t at = query * p.E + column;
          const float first = values[tile][n][2 * half] * inverse;
          const float second = values[tile][n][2 * half + 1] * inverse;
          if (column + 1 < p.E)
            store_pair(y, at, first, second);
          else if (column < p.E)
            store_element(y, at, first);
        }
      }
  }
};

}  // namespace llmkit::cuda
