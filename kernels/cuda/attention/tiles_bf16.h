#pragma once

#include "cuda/attention/query_rows.h"
#include "cuda/attention/tile_maps.h"
#include "cuda/base/instructions.h"

// Products of tiles of query rows and keys on the tensor cores: what one warp does.

namespace llmkit::cuda {

/// One step of multiply_rows: c += or, at the first step, c = the product of 16 columns.
template <int kE, bool kFirst, int kTiles, int kColumns>
__device__ __forceinline__ void multiply_rows_step(float (&c)[kTiles][kColumns][4], uint32_t a,
                                                   uint32_t b, int step, int lane) {
  using Rows = SharedRows<kE>;
  uint32_t left[kTiles][4];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile)
    load_matrices(left[tile],
                  a + Rows::at(tile * 16 + operand_row(lane), 2 * step + operand_chunk(lane)));
#pragma unroll
  for (int pair = 0; pair < kColumns / 2; ++pair) {
    uint32_t right[4];
    load_matrices(right,
                  b + Rows::at(pair * 16 + columns_row(lane), 2 * step + columns_chunk(lane)));
#pragma unroll
    for (int i = 0; i < 2 * kTiles; ++i) {
      float(&to)[4] = c[i / 2][2 * pair + i % 2];
      if (kFirst)
        multiply(to, left[i / 2], right[i % 2 * 2], right[i % 2 * 2 + 1]);
      else
        multiply_add(to, left[i / 2], right[i % 2 * 2], right[i % 2 * 2 + 1]);
    }
  }
}

/// c[tile][n] = A[tile] · Bᵀ over kE: A [16 * kTiles, kE] and B [8 * kColumns, kE] rows in shared
/// memory.
template <int kE, int kTiles, int kColumns>
__device__ __forceinline__ void multiply_rows(float (&c)[kTiles][kColumns][4], uint32_t a,
                                              uint32_t b, int lane) {
  multiply_rows_step<kE, true>(c, a, b, 0, lane);
#pragma unroll 2
  for (int step = 1; step < kE / 16; ++step) multiply_rows_step<kE, false>(c, a, b, step, lane);
}

/// Weights [16 * kTiles, 8 * kColumns] as the left operands of products over their columns.
template <int kTiles, int kColumns>
struct WeightTile {
  uint32_t a[kTiles][kColumns / 2][4];

  __device__ __forceinline__ void set(const float (&c)[kTiles][kColumns][4]) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int step = 0; step < kColumns / 2; ++step) {
        a[tile][step][0] = pack_bf16(c[tile][2 * step][0], c[tile][2 * step][1]);
        a[tile][step][1] = pack_bf16(c[tile][2 * step][2], c[tile][2 * step][3]);
        a[tile][step][2] = pack_bf16(c[tile][2 * step + 1][0], c[tile][2 * step + 1][1]);
        a[tile][step][3] = pack_bf16(c[tile][2 * step + 1][2], c[tile][2 * step + 1][3]);
      }
  }
};

/// c[tile] = weights · V, or with kAdd +=, for columns [8 * n, 8 * n + 8) of V [8 * kColumns, kE].
template <int kE, bool kAdd = false, int kTiles, int kColumns>
__device__ __forceinline__ void multiply_weights(float (&c)[kTiles][4],
                                                 const WeightTile<kTiles, kColumns>& weights,
                                                 uint32_t values, int n, int lane) {
  static_assert(kColumns % 4 == 0, "two steps of 16 rows are read at a time");
#pragma unroll
  for (int step = 0; step < kColumns / 2; step += 2) {
    uint32_t right[4];
    load_matrices_transposed(right, values + SharedRows<kE>::at(step * 16 + lane, n));
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      if (step == 0 && !kAdd)
        multiply(c[tile], weights.a[tile][step], right[0], right[1]);
      else
        multiply_add(c[tile], weights.a[tile][step], right[0], right[1]);
      multiply_add(c[tile], weights.a[tile][step + 1], right[2], right[3]);
    }
  }
}

/// Asks for `count` rows of bf16 that lie evenly from `first` on, as kRows rows in shared memory,
/// where `Shared` has them, zeros where there is no row or column. `thread` of `threads` that share
/// the work.
template <class Shared, int kRows>
__device__ __forceinline__ void load_even_rows(uint32_t to, const uint8_t* first, int row_bytes,
                                               int width, int count, int thread, int threads) {
#pragma unroll 1
  for (int i = thread; i < kRows * Shared::kChunks; i += threads) {
    const int row = i / Shared::kChunks, chunk = i % Shared::kChunks;
    const bool valid = row < count && chunk * 8 < width;
    copy_async_or_zero(to + Shared::at(row, chunk),
                       first + (valid ? row * row_bytes + chunk * 16 : 0), valid);
  }
}

/// Asks for keys [begin, begin + kRows) of a head as rows in shared memory, where `Shared` has
/// them, zeros where there is no key or column. Rows of bf16 only, in pages or not.
template <class Shared, int kRows>
__device__ __forceinline__ void load_rows_async(uint32_t to, const KeyRows& rows, int b, int head,
                                                int begin, int keys, int thread, int threads) {
  // Neighbouring keys are in one page or two.
  const int most = max(keys - 1, 0), before_end = min(begin + kRows - 1, most);
  const uint8_t* const low = rows.at(b, head, min(begin, most));
  const uint8_t* const high = rows.at(b, head, before_end);
#pragma unroll 1
  for (int i = thread; i < kRows * Shared::kChunks; i += threads) {
    const int row = i / Shared::kChunks, chunk = i % Shared::kChunks, key = begin + row;
    const bool valid = key < keys && chunk * 8 < rows.width;
    const bool of_low = rows.pages == nullptr || key / kPageKeys == begin / kPageKeys;
    const uint8_t* const at = of_low
                                  ? low + static_cast<size_t>(row) * rows.row_bytes
                                  : high - static_cast<size_t>(before_end - key) * rows.row_bytes;
    copy_async_or_zero(to + Shared::at(row, chunk), valid ? at + chunk * 16 : low, valid);
  }
}

}  // namespace llmkit::cuda
