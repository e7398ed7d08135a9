#include "cuda/attention/kernels.h"
#include "cuda/attention/tiles_f32.h"
#include "cuda/base/launch.h"

namespace llmkit::cuda {
namespace {

/// kRows query rows against a block of keys at a time. Heads are cut into slices of 64 columns.
template <int kSlices, int kRows>
struct ExactTile {
  static constexpr int kThreads = kRows / 4 * kTileThreads;
  static constexpr size_t kSharedFloats = (kSlices * kRows + kBlockKeys + kRows) * kSlicePitch;

  const AttentionParams& p;
  const RowTable<kRows>& rows;
  const int b, kv, begin, keys, thread;
  const TilePlace at;
  float *q, *slice, *weights;

  __device__ ExactTile(const AttentionParams& params, RowTable<kRows>& table, float* shared,
                       int sequence, int head, int first_row)
      : p(params),
        rows(table),
        b(sequence),
        kv(head),
        begin(first_row),
        keys(number_of_keys(params, sequence)),
        thread(threadIdx.x),
        at(thread),
        q(shared),
        slice(q + kSlices * kRows * kSlicePitch),
        weights(slice + kBlockKeys * kSlicePitch) {
    table.fill(p, b, begin, thread, kThreads);
    for (int i = 0; i < kSlices; ++i)
      load_row_slice(q + i * kRows * kSlicePitch, p, p.float_q(), p.scale, b, kv, begin, kRows, i,
                     thread, kThreads);
    __syncthreads();
  }

  __device__ void load(const KeyRows& from, int key, int number) {
    __syncthreads();
    load_slice(slice, from, b, kv, key, keys, number, thread, kThreads);
    __syncthreads();
  }

  /// From q · k to a score; -infinity for keys that are not seen. Returns whether all are.
  __device__ bool make_scores(float (&s)[4][4], int start, int key) const {
    bool whole = true;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = at.row + i;
      const bool here = rows.start[row] == start;
      const int first = rows.first[row], last = here ? rows.last[row] : -1;
      const float slope = slope_of(p, kv, begin + row);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int number = key + at.column + kTileThreads * j;
        if (p.softcap > 0) s[i][j] = p.softcap * tanhf(s[i][j] * p.inverse_cap);
        if (p.slopes != nullptr)
          s[i][j] = fmaf(slope, static_cast<float>(number - rows.last[row]), s[i][j]);
        const bool seen = number >= first && number <= last;
        whole &= seen;
        s[i][j] = seen ? s[i][j] : -INFINITY;
      }
    }
    return whole;
  }

  /// The softmax of a block of keys for each of the thread's rows, its weights in shared memory.
  /// Returns whether the rows of the warp see all of its keys.
  __device__ bool make_weights(int start, int key, Softmax (&block)[4]) {
    float s[4][4] = {};
    for (int i = 0; i < kSlices; ++i) {
      load(p.keys.keys, key, i);
      multiply_slices(s, q + i * kRows * kSlicePitch, slice, at);
    }
    const bool whole = make_scores(s, start, key);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float most = fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3])), total = 0;
      most = largest_of_sixteen(most);
      const float shift = shift_of(most);
#pragma unroll
      for (int j = 0; j < 4; ++j) total += s[i][j] = expf(s[i][j] - shift);
      block[i] = {most, sum_of_sixteen(total)};
    }
    store_weights(weights, s, at);
    return __all_sync(kAllLanes, whole);
  }

  /// Calls take(slice, sums) with the weighted values of the block.
  template <class Take>
  __device__ void each_sum(int key, bool whole, const Take& take) {
#pragma unroll
    for (int i = 0; i < kSlices; ++i) {
      load(p.keys.values, key, i);
      float sums[4][4] = {};
      if (whole)
        add_weighted<false>(sums, weights, slice, at);
      else
        add_weighted<true>(sums, weights, slice, at);
      take(i, sums);
    }
  }

  /// Whether there is such a row, and its place in [B, T, H].
  __device__ bool find(int i, size_t& query) const {
    const int row = begin + at.row + i;
    if (row >= p.rows()) return false;
    query = query_of(p, b, kv, row);
    return true;
  }

  /// The thread's 4 columns of a slice.
  __device__ void write(float* row, int number, const float (&x)[4]) const {
    const int column = number * kSliceColumns + 4 * at.column;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (column + j < p.E) row[column + j] = x[j];
  }
};

template <int kSlices, int kRows>
__global__ __launch_bounds__(kRows * 4, 1) void attend_f32(AttentionParams p, float* y,
                                                           float* log_sum_exp) {
  __shared__ RowTable<kRows> rows;
  ExactTile<kSlices, kRows> tile(p, rows, reinterpret_cast<float*>(dynamic_shared()), blockIdx.z,
                                 blockIdx.y, (gridDim.x - 1 - blockIdx.x) * kRows);
  float values[kSlices][4][4] = {};
  Softmax all[4];
  for (Softmax& softmax : all) softmax = empty_softmax();
  SequenceKeys sequence;
  while (next_sequence(rows, tile.thread % kWarp, sequence)) {
    int key = sequence.start + sequence.first_block() * kBlockKeys;
    for (; key <= sequence.last; key += kBlockKeys) {
      Softmax block[4];
      const bool whole = tile.make_weights(sequence.start, key, block);
      Rescale factors[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) factors[i] = add_block<false>(all[i], block[i]);
      tile.each_sum(key, whole, [&](int slice, const float(&sums)[4][4]) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          float& value = values[slice][i / 4][i % 4];
          value = fmaf(sums[i / 4][i % 4], factors[i / 4].block, value * factors[i / 4].before);
        }
      });
    }
  }
  for (int i = 0; i < 4; ++i) {
    size_t query;
    if (!tile.find(i, query)) continue;
    const float inverse = inverse_total<false>(all[i]);
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) {
      for (float& value : values[slice][i]) value *= inverse;
      tile.write(y + query * p.E, slice, values[slice][i]);
    }
    if (log_sum_exp != nullptr && tile.at.column == 0)
      log_sum_exp[query] = log_of_sum<false>(all[i]);
  }
}

/// Block x makes the parts of `each` blocks of keys from x · each on.
template <int kSlices, int kRows>
__global__ __launch_bounds__(kRows * 4, 4) void parts_f32(AttentionParams p, Parts parts, int tiles,
                                                          int each) {
  __shared__ RowTable<kRows> rows;
  ExactTile<kSlices, kRows> tile(p, rows, reinterpret_cast<float*>(dynamic_shared()), blockIdx.z,
                                 blockIdx.y / tiles, blockIdx.y % tiles * kRows);
  SequenceKeys sequence;
  if (!next_sequence(rows, tile.thread % kWarp, sequence)) return;
  const int from = blockIdx.x * each;
  const int end = min(from + each, sequence.last_block() + 1);
  for (int n = max(from, sequence.first_block()); n < end; ++n) {
    const int key = n * kBlockKeys;
    Softmax block[4];
    const bool whole = tile.make_weights(0, key, block);
    tile.each_sum(key, whole, [&](int slice, const float(&sums)[4][4]) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        size_t query;
        if (!tile.find(i, query)) continue;
        const size_t part = parts.at(query, n);
        tile.write(parts.values + part * p.E, slice, sums[i]);
        if (tile.at.column == 0 && slice == 0) parts.softmaxes[part] = block[i];
      }
    });
  }
}

template <int kSlices, int kRows>
cudaError_t launch_attend(const AttentionParams& p, size_t B, size_t K, float* y,
                          float* log_sum_exp, cudaStream_t stream) {
  using Tile = ExactTile<kSlices, kRows>;
  const dim3 grid(blocks_of(static_cast<size_t>(p.T) * p.group, kRows), static_cast<unsigned>(K),
                  static_cast<unsigned>(B));
  return launch(attend_f32<kSlices, kRows>,
                {grid, dim3(Tile::kThreads), Tile::kSharedFloats * sizeof(float), stream}, p, y,
                log_sum_exp);
}

template <int kSlices>
cudaError_t launch_parts(const AttentionParams& p, const Parts& parts, size_t B, size_t K,
                         cudaStream_t stream) {
  constexpr int kRows = 16;
  using Tile = ExactTile<kSlices, kRows>;
  const unsigned tiles = blocks_of(static_cast<size_t>(p.T) * p.group, kRows);
  const int each = B * K * tiles * static_cast<size_t>(parts.blocks) >= 4096 ? 4 : 1;
  const dim3 grid(blocks_of(parts.blocks, each), static_cast<unsigned>(K) * tiles,
                  static_cast<unsigned>(B));
  return launch(parts_f32<kSlices, kRows>,
                {grid, dim3(Tile::kThreads), Tile::kSharedFloats * sizeof(float), stream}, p, parts,
                static_cast<int>(tiles), each);
}

}  // namespace

cudaError_t attend_exact(const AttentionParams& p, size_t B, size_t K, float* y, float* log_sum_exp,
                         cudaStream_t stream) {
  if (p.E <= 64) return launch_attend<1, 64>(p, B, K, y, log_sum_exp, stream);
  if (p.E <= 128) return launch_attend<2, 64>(p, B, K, y, log_sum_exp, stream);
  return launch_attend<4, 32>(p, B, K, y, log_sum_exp, stream);
}

cudaError_t exact_parts(const AttentionParams& p, const Parts& parts, size_t B, size_t K,
                        cudaStream_t stream) {
  if (p.E <= 64) return launch_parts<1>(p, parts, B, K, stream);
  if (p.E <= 128) return launch_parts<2>(p, parts, B, K, stream);
  return launch_parts<4>(p, parts, B, K, stream);
}

}  // namespace llmkit::cuda
