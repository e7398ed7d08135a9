#pragma once

#include "cuda/attention/query_rows.h"
#include "cuda/attention/read_rows.h"

// Products of tiles in float32: 16 threads side by side, each with 4 rows and every 16th of 64
// columns, or 4 neighbouring columns. Every element is one chain of multiply-adds, ascending.

namespace llmkit::cuda {

constexpr int kSliceColumns = 64;  // of a head that are in shared memory at a time
constexpr int kSlicePitch = kSliceColumns + 4;
constexpr int kTileThreads = 16;

/// Where a thread's part of a tile is.
struct TilePlace {
  int column, row;  // the first of its columns and of its 4 rows
  __device__ explicit TilePlace(int thread)
      : column(thread % kTileThreads), row(thread / kTileThreads * 4) {}
};

/// Columns [64 * slice, 64 * slice + 64) of keys [begin, begin + 64), zeros where there are none.
__device__ inline void load_slice(float* to, const KeyRows& rows, int b, int head, int begin,
                                  int keys, int slice, int thread, int threads) {
  for (int i = thread; i < kBlockKeys * kSliceColumns / 8; i += threads) {
    const int row = i / (kSliceColumns / 8), column = i % (kSliceColumns / 8) * 8;
    float x[8] = {};
    if (begin + row < keys) read_row(rows, b, head, begin + row, slice * kSliceColumns + column, x);
    float* const at = to + row * kSlicePitch + column;
    *reinterpret_cast<float4*>(at) = {x[0], x[1], x[2], x[3]};
    *reinterpret_cast<float4*>(at + 4) = {x[4], x[5], x[6], x[7]};
  }
}

/// The same of rows [begin, begin + count) shaped as q, times a factor.
__device__ inline void load_row_slice(float* to, const AttentionParams& p, const float* from,
                                      float factor, int b, int kv, int begin, int count, int slice,
                                      int thread, int threads) {
  const int rows = p.rows();
  for (int i = thread; i < count * kSliceColumns / 8; i += threads) {
    const int row = i / (kSliceColumns / 8), column = i % (kSliceColumns / 8) * 8;
    float x[8] = {};
    if (begin + row < rows)
      read_floats(from + query_of(p, b, kv, begin + row) * p.E, slice * kSliceColumns + column, p.E,
                  x);
    float* const at = to + row * kSlicePitch + column;
    *reinterpret_cast<float4*>(at) = {x[0] * factor, x[1] * factor, x[2] * factor, x[3] * factor};
    *reinterpret_cast<float4*>(at + 4) = {x[4] * factor, x[5] * factor, x[6] * factor,
                                          x[7] * factor};
  }
}

__device__ __forceinline__ float4 four_at(const float* slice, int row, int column) {
  return *reinterpret_cast<const float4*>(slice + row * kSlicePitch + column);
}

/// c[i][j] += row i of the thread's in `a` · row (column + 16 j) of `b`.
__device__ __forceinline__ void multiply_slices(float (&c)[4][4], const float* a, const float* b,
                                                const TilePlace& at) {
#pragma unroll 4
  for (int e = 0; e < kSliceColumns; e += 4) {
    float4 left[4], right[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      left[i] = four_at(a, at.row + i, e);
      right[i] = four_at(b, at.column + kTileThreads * i, e);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        c[i][j] = fmaf(left[i].x, right[j].x, c[i][j]);
        c[i][j] = fmaf(left[i].y, right[j].y, c[i][j]);
        c[i][j] = fmaf(left[i].z, right[j].z, c[i][j]);
        c[i][j] = fmaf(left[i].w, right[j].w, c[i][j]);
      }
  }
}

/// c[i][j] += sum over the rows of `b` of weights[row i of the thread's][that row] · its column
/// 4 * at.column + j. With kSome, rows of weight 0 do not count, whatever is in them.
template <bool kSome>
__device__ __forceinline__ void add_weighted(float (&c)[4][4], const float* weights, const float* b,
                                             const TilePlace& at) {
#pragma unroll 2
  for (int k = 0; k < kBlockKeys; k += 4) {
    float left[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float4 four = four_at(weights, at.row + i, k);
      left[i][0] = four.x, left[i][1] = four.y, left[i][2] = four.z, left[i][3] = four.w;
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float4 four = four_at(b, k + n, 4 * at.column);
      const float right[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (!kSome || left[i][n] != 0) c[i][j] = fmaf(left[i][n], right[j], c[i][j]);
    }
  }
}

/// c[i][j] of the thread to row i, column 16 j of a tile of weights.
__device__ __forceinline__ void store_weights(float* to, const float (&c)[4][4],
                                              const TilePlace& at) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      to[(at.row + i) * kSlicePitch + at.column + kTileThreads * j] = c[i][j];
}

__device__ __forceinline__ float largest_of_sixteen(float value) {
#pragma unroll
  for (int apart = 8; apart > 0; apart /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, apart));
  return value;
}
__device__ __forceinline__ float sum_of_sixteen(float value) {
#pragma unroll
  for (int apart = 8; apart > 0; apart /= 2) value += __shfl_xor_sync(kAllLanes, value, apart);
  return value;
}

}  // namespace llmkit::cuda
