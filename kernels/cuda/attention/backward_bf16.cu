#include <type_traits>

#include "cuda/attention/grad_kernels.h"
#include "cuda/base/launch.h"

namespace llmkit::cuda {
namespace {

/// How a block shares its work: kBlock rows or keys of its own, 16 for each warp, against tiles of
/// kTile of the others. Of wide heads two warps sum up half of the columns each.
template <int kE, int kTileRows>
struct GradShares {
  static constexpr int kBlock = 64, kTile = kTileRows;
  static constexpr int kParts = kE > 128 ? 2 : 1, kColumns = kE / kParts;
  static constexpr int kThreads = kBlock / 16 * kParts * kWarp;
  static constexpr size_t kSharedBytes = 2 * SharedRows<kE>::bytes(kBlock + kTile);
};

template <int kE>
using QueryShares = GradShares<kE, (kE > 128 ? 32 : 64)>;
/// Two sums for each key leave registers for smaller tiles.
template <int kE>
using KeyShares = GradShares<kE, (kE > 64 ? 32 : 64)>;

/// The threads of a block, and its four tiles in shared memory: two of its own, two of others.
template <int kE, class Shares>
struct GradTiles {
  const int thread, lane, row, column;  // the first of the warp's rows and columns
  const int b, kv;
  uint32_t own[2], other[2];

  __device__ __forceinline__ GradTiles()
      : thread(threadIdx.x),
        lane(thread % kWarp),
        row(thread / kWarp % (Shares::kBlock / 16) * 16),
        column(thread / kWarp / (Shares::kBlock / 16) * Shares::kColumns),
        b(blockIdx.z),
        kv(blockIdx.y) {
    own[0] = shared_address(dynamic_shared());
    own[1] = own[0] + SharedRows<kE>::bytes(Shares::kBlock);
    other[0] = own[1] + SharedRows<kE>::bytes(Shares::kBlock);
    other[1] = other[0] + SharedRows<kE>::bytes(Shares::kTile);
  }
  template <int kRows>
  __device__ __forceinline__ void load(uint32_t to, const KeyRows& rows, int begin,
                                       int count) const {
    load_even_rows<SharedRows<kE>, kRows>(to, rows.at_evenly(b, kv, begin),
                                          static_cast<int>(rows.row_bytes), rows.width,
                                          count - begin, thread, Shares::kThreads);
  }
  /// c = the rows of this warp · those of a tile of others.
  __device__ __forceinline__ void multiply(float (&c)[1][Shares::kTile / 8][4], int i) const {
    multiply_rows<kE>(c, own[i] + SharedRows<kE>::at(row, 0), other[i], opaque(lane));
  }
  /// c += weights · the columns of this warp of a tile of others.
  __device__ __forceinline__ void add(float (&c)[Shares::kColumns / 8][4],
                                      const WeightTile<1, Shares::kTile / 8>& weights,
                                      int i) const {
#pragma unroll
    for (int n = 0; n < Shares::kColumns / 8; ++n) {
      // Keeps the compiler from holding many values in registers.
      if (n % 2 == 0) __syncwarp();
      multiply_weights<kE, true>(reinterpret_cast<float(&)[1][4]>(c[n]), weights,
                                 other[i] + 2 * column, n, opaque(lane));
    }
  }
  /// The warp's part of row `row + 8 * half + tile_row(lane)`.
  __device__ __forceinline__ void write(float* to, const float (&c)[Shares::kColumns / 8][4],
                                        int half, float factor, int E) const {
#pragma unroll
    for (int n = 0; n < Shares::kColumns / 8; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = column + 8 * n + tile_column(lane) + i;
        if (at < E) to[at] = c[n][2 * half + i] * factor;
      }
  }
};

/// A block of query rows against all keys: dq.
template <int kE>
__global__ __launch_bounds__(QueryShares<kE>::kThreads,
                             kE > 128 ? 1 : 2) void grad_queries_bf16(RoundedGrad r) {
  using Shares = QueryShares<kE>;
  constexpr int kTile = Shares::kTile;
  __shared__ GradTable<Shares::kBlock> table;
  const GradParams& g = r.g;
  const GradTiles<kE, Shares> tiles;
  // Under a causal mask the last rows take longest: they begin first.
  const int begin = (gridDim.x - 1 - blockIdx.x) * Shares::kBlock, rows = g.p.rows();
  table.fill(g, tiles.b, tiles.kv, begin, 0, g.p.S, tiles.thread, Shares::kThreads);
  tiles.template load<Shares::kBlock>(tiles.own[0], r.q, begin, rows);
  tiles.template load<Shares::kBlock>(tiles.own[1], r.dy, begin, rows);
  float dq[Shares::kColumns / 8][4] = {};
  for (int key = 0; key < g.p.S; key += kTile) {
    __syncthreads();
    bool works = false;
    for (int i = tiles.thread; i < Shares::kBlock; i += Shares::kThreads)
      works |= table.rows[i].first < key + kTile && table.rows[i].last >= key;
    if (!__syncthreads_or(works)) continue;
    tiles.template load<kTile>(tiles.other[0], g.p.keys.keys, key, g.p.S);
    tiles.template load<kTile>(tiles.other[1], g.p.keys.values, key, g.p.S);
    commit_copies();
    wait_copies<0>();
    __syncthreads();
    float s[1][kTile / 8][4], dweight[1][kTile / 8][4];
    tiles.multiply(s, 0);
    tiles.multiply(dweight, 1);
    weigh_tile<false>(table, g.p, tiles.row, key, tiles.lane, s[0], dweight[0]);
    WeightTile<1, kTile / 8> weights;
    weights.set(dweight);
    tiles.add(dq, weights, 0);
  }
  wait_copies<0>();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = begin + tiles.row + 8 * half + tile_row(tiles.lane);
    if (row >= rows) continue;
    float* const to = g.dq + query_of(g.p, tiles.b, tiles.kv, row) * g.p.E;
    tiles.write(to, dq, half, g.p.scale, g.p.E);
  }
}

/// A block of keys against all query rows that see them: dk and dv. Products are made transposed, a
/// key a row, so that the weights are left operands as they come.
template <int kE>
__global__ __launch_bounds__(KeyShares<kE>::kThreads,
                             kE > 128 ? 1 : 2) void grad_keys_bf16(RoundedGrad r, int K) {
  using Shares = KeyShares<kE>;
  constexpr int kTile = Shares::kTile;
  __shared__ GradTable<kTile> table;
  const GradParams& g = r.g;
  const GradTiles<kE, Shares> tiles;
  const int key = blockIdx.x * Shares::kBlock, rows = g.p.rows();
  tiles.template load<Shares::kBlock>(tiles.own[0], g.p.keys.keys, key, g.p.S);
  tiles.template load<Shares::kBlock>(tiles.own[1], g.p.keys.values, key, g.p.S);
  float dk[Shares::kColumns / 8][4] = {}, dv[Shares::kColumns / 8][4] = {};
  for (int begin = 0; begin < rows; begin += kTile) {
    __syncthreads();
    const bool works = table.fill(g, tiles.b, tiles.kv, begin, key, key + Shares::kBlock - 1,
                                  tiles.thread, Shares::kThreads);
    if (!__syncthreads_or(works)) continue;
    tiles.template load<kTile>(tiles.other[0], r.q, begin, rows);
    tiles.template load<kTile>(tiles.other[1], r.dy, begin, rows);
    commit_copies();
    wait_copies<0>();
    __syncthreads();
    float s[1][kTile / 8][4], dweight[1][kTile / 8][4];
    tiles.multiply(s, 0);
    tiles.multiply(dweight, 1);
    weigh_tile<true>(table, g.p, 0, key + tiles.row, opaque(tiles.lane), s[0], dweight[0]);
    WeightTile<1, kTile / 8> weights, dweights;
    weights.set(s);
    dweights.set(dweight);
    tiles.add(dv, weights, 1);
    tiles.add(dk, dweights, 0);
  }
  wait_copies<0>();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int number = key + tiles.row + 8 * half + tile_row(tiles.lane);
    if (number >= g.p.S) continue;
    const size_t at = ((static_cast<size_t>(tiles.b) * g.p.S + number) * K + tiles.kv) * g.p.E;
    tiles.write(g.dk + at, dk, half, g.p.scale, g.p.E);
    tiles.write(g.dv + at, dv, half, 1, g.p.E);
  }
}

template <class Shares>
Launch launch_of(size_t count, size_t B, size_t K, cudaStream_t stream) {
  return {
      dim3(blocks_of(count, Shares::kBlock), static_cast<unsigned>(K), static_cast<unsigned>(B)),
      dim3(Shares::kThreads), Shares::kSharedBytes, stream};
}

/// Calls launch_with(size) with a head size that has room for E values.
template <class LaunchWith>
cudaError_t with_head_size(int E, const LaunchWith& launch_with) {
  if (E <= 64) return launch_with(std::integral_constant<int, 64>());
  if (E <= 96) return launch_with(std::integral_constant<int, 96>());
  if (E <= 128) return launch_with(std::integral_constant<int, 128>());
  return launch_with(std::integral_constant<int, 256>());
}

}  // namespace

cudaError_t rounded_grad_keys(const RoundedGrad& grad, size_t B, size_t K, cudaStream_t stream) {
  return with_head_size(grad.g.p.E, [&](auto size) {
    return launch(grad_keys_bf16<size>, launch_of<KeyShares<size>>(grad.g.p.S, B, K, stream), grad,
                  static_cast<int>(K));
  });
}

cudaError_t rounded_grad_queries(const RoundedGrad& grad, size_t B, size_t K, cudaStream_t stream) {
  const size_t rows = static_cast<size_t>(grad.g.p.T) * grad.g.p.group;
  return with_head_size(grad.g.p.E, [&](auto size) {
    return launch(grad_queries_bf16<size>, launch_of<QueryShares<size>>(rows, B, K, stream), grad);
  });
}

}  // namespace llmkit::cuda
