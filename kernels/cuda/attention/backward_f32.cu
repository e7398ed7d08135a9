#include "cuda/attention/grad_kernels.h"
#include "cuda/attention/tiles_f32.h"
#include "cuda/base/launch.h"

namespace llmkit::cuda {
namespace {

constexpr int kTile = 64;  // rows, and keys
constexpr int kThreads = kTile / 4 * kTileThreads;
constexpr int kTileFloats = kTile * kSlicePitch;

/// Tiles of shared memory and the loads into them, which every thread of the block takes part in.
struct GradSlices {
  const GradParams& g;
  const int b, kv, thread;
  const TilePlace at;
  float *left, *right, *weights, *dweights;

  __device__ GradSlices(const GradParams& params, float* shared)
      : g(params),
        b(blockIdx.z),
        kv(blockIdx.y),
        thread(threadIdx.x),
        at(thread),
        left(shared),
        right(shared + kTileFloats),
        weights(shared + 2 * kTileFloats),
        dweights(shared + 3 * kTileFloats) {}

  __device__ void load_keys(float* to, const KeyRows& rows, int begin, int slice) const {
    load_slice(to, rows, b, kv, begin, g.p.S, slice, thread, kThreads);
  }
  __device__ void load_rows(float* to, const float* from, float factor, int begin,
                            int slice) const {
    load_row_slice(to, g.p, from, factor, b, kv, begin, kTile, slice, thread, kThreads);
  }

  /// c[i][slice] += the weighted sum of the rows that load(slice) brings to `right`.
  template <int kSlices, class Load>
  __device__ void add(float (&c)[kSlices][4][4], const float* tile, const Load& load) const {
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) {
      __syncthreads();
      load(slice);
      __syncthreads();
      add_weighted<true>(c[slice], tile, right, at);
    }
  }
  /// c += left · right over the slices that load(slice) brings.
  template <class Load>
  __device__ void multiply(float (&c)[4][4], int slices, const Load& load) const {
    for (int slice = 0; slice < slices; ++slice) {
      __syncthreads();
      load(slice);
      __syncthreads();
      multiply_slices(c, left, right, at);
    }
  }
  /// The thread's 4 columns of each slice of a row [E].
  template <int kSlices>
  __device__ void write(float* row, const float (&c)[kSlices][4][4], int i, float factor) const {
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int column = slice * kSliceColumns + 4 * at.column + j;
        if (column < g.p.E) row[column] = c[slice][i][j] * factor;
      }
  }
};

/// A block of query rows against all keys: dq.
template <int kSlices>
__global__ __launch_bounds__(kThreads, 1) void grad_queries_f32(GradParams g) {
  __shared__ GradTable<kTile> table;
  const GradSlices tile(g, reinterpret_cast<float*>(dynamic_shared()));
  const int begin = blockIdx.x * kTile;
  table.fill(g, tile.b, tile.kv, begin, 0, g.p.S, tile.thread, kThreads);
  float dq[kSlices][4][4] = {};
  for (int key = 0; key < g.p.S; key += kTile) {
    __syncthreads();
    bool works = false;
    for (int i = tile.thread; i < kTile; i += kThreads)
      works |= table.rows[i].first < key + kTile && table.rows[i].last >= key;
    if (!__syncthreads_or(works)) continue;
    float s[4][4] = {}, dweight[4][4] = {};
    tile.multiply(s, kSlices, [&](int slice) {
      tile.load_rows(tile.left, g.p.float_q(), g.p.scale, begin, slice);
      tile.load_keys(tile.right, g.p.keys.keys, key, slice);
    });
    tile.multiply(dweight, kSlices, [&](int slice) {
      tile.load_rows(tile.left, g.dy, 1, begin, slice);
      tile.load_keys(tile.right, g.p.keys.values, key, slice);
    });
    bend<false>(g.p, s);
#pragma unroll
    for (int i = 0; i < 16; ++i)
      table.weigh<false>(g.p, tile.at.row + i / 4, key + tile.at.column + kTileThreads * (i % 4),
                         s[i / 4][i % 4], dweight[i / 4][i % 4]);
    store_weights(tile.dweights, dweight, tile.at);
    tile.add(dq, tile.dweights,
             [&](int slice) { tile.load_keys(tile.right, g.p.keys.keys, key, slice); });
  }
  for (int i = 0; i < 4; ++i) {
    const int row = begin + tile.at.row + i;
    if (row >= g.p.rows()) break;
    tile.write(g.dq + query_of(g.p, tile.b, tile.kv, row) * g.p.E, dq, i, g.p.scale);
  }
}

/// A block of keys against all query rows that see them: dk and dv.
template <int kSlices>
__global__ __launch_bounds__(kThreads, 1) void grad_keys_f32(GradParams g, int K) {
  __shared__ GradTable<kTile> table;
  const GradSlices tile(g, reinterpret_cast<float*>(dynamic_shared()));
  const int key = blockIdx.x * kTile;
  float dk[kSlices][4][4] = {}, dv[kSlices][4][4] = {};
  for (int begin = 0; begin < g.p.rows(); begin += kTile) {
    __syncthreads();
    const bool works =
        table.fill(g, tile.b, tile.kv, begin, key, key + kTile - 1, tile.thread, kThreads);
    if (!__syncthreads_or(works)) continue;
    float s[4][4] = {}, dweight[4][4] = {};
    tile.multiply(s, kSlices, [&](int slice) {
      tile.load_keys(tile.left, g.p.keys.keys, key, slice);
      tile.load_rows(tile.right, g.p.float_q(), g.p.scale, begin, slice);
    });
    tile.multiply(dweight, kSlices, [&](int slice) {
      tile.load_keys(tile.left, g.p.keys.values, key, slice);
      tile.load_rows(tile.right, g.dy, 1, begin, slice);
    });
    bend<false>(g.p, s);
#pragma unroll
    for (int i = 0; i < 16; ++i)
      table.weigh<false>(g.p, tile.at.column + kTileThreads * (i % 4), key + tile.at.row + i / 4,
                         s[i / 4][i % 4], dweight[i / 4][i % 4]);
    store_weights(tile.weights, s, tile.at);
    store_weights(tile.dweights, dweight, tile.at);
    tile.add(dv, tile.weights,
             [&](int slice) { tile.load_rows(tile.right, g.dy, 1, begin, slice); });
    tile.add(dk, tile.dweights, [&](int slice) {
      tile.load_rows(tile.right, g.p.float_q(), g.p.scale, begin, slice);
    });
  }
  for (int i = 0; i < 4; ++i) {
    const int number = key + tile.at.row + i;
    if (number >= g.p.S) break;
    const size_t at = ((static_cast<size_t>(tile.b) * g.p.S + number) * K + tile.kv) * g.p.E;
    tile.write(g.dk + at, dk, i, 1);
    tile.write(g.dv + at, dv, i, 1);
  }
}

template <int kSlices>
cudaError_t launch_grad(const GradParams& g, size_t B, size_t K, cudaStream_t stream) {
  const unsigned heads = static_cast<unsigned>(K), sequences = static_cast<unsigned>(B);
  const size_t shared = 4 * kTileFloats * sizeof(float);
  const size_t rows = static_cast<size_t>(g.p.T) * g.p.group;
  const dim3 queries(blocks_of(rows, kTile), heads, sequences);
  const cudaError_t error =
      launch(grad_queries_f32<kSlices>, {queries, dim3(kThreads), shared, stream}, g);
  if (error != cudaSuccess) return error;
  const dim3 keys(blocks_of(g.p.S, kTile), heads, sequences);
  return launch(grad_keys_f32<kSlices>, {keys, dim3(kThreads), shared, stream}, g,
                static_cast<int>(K));
}

}  // namespace

cudaError_t exact_grad(const GradParams& g, size_t B, size_t K, cudaStream_t stream) {
  if (g.p.E <= 64) return launch_grad<1>(g, B, K, stream);
  if (g.p.E <= 128) return launch_grad<2>(g, B, K, stream);
  return launch_grad<4>(g, B, K, stream);
}

}  // namespace llmkit::cuda
