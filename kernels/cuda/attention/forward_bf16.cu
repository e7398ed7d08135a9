#include "cuda/attention/forward_bf16.h"
#include "cuda/attention/kernels.h"
#include "cuda/base/launch.h"

namespace llmkit::cuda {
namespace {

/// How a block shares its work: kRowWarps times 16 * kTiles rows, and of wide heads two warps sum
/// up half of the columns each of the same rows, for one would not have the registers.
template <int kE>
struct Shares {
  static constexpr int kTiles = kE > 64 ? 1 : 2;
  static constexpr int kParts = kE > 128 ? 2 : 1;
  static constexpr int kRowWarps = 4, kWarps = kRowWarps * kParts, kThreads = kWarps * kWarp;
  static constexpr int kRows = kRowWarps * 16 * kTiles;
  static constexpr int kColumns = kE / kParts;
};

template <int kE>
constexpr size_t shared_bytes() {
  return SharedRows<kE>::bytes(Shares<kE>::kRows) + 2 * SharedRows<kE>::bytes(kBlockKeys);
}

/// Adds a block of keys to what a warp has summed up of columns from `begin` on: the block's
/// weights, and its values in shared memory.
template <int kE, int kTiles, int kColumns>
__device__ __forceinline__ void add_values(RowSums<kTiles, kColumns>& sums,
                                           const WeightTile<kTiles, kBlockKeys / 8>& weights,
                                           const Softmax (&block)[kTiles][2], uint32_t v, int begin,
                                           int lane, Softmax* softmax) {
  Rescale factors[kTiles][2];
  add_softmax(block, lane, softmax, factors);
  sums.rescale(factors);
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n) {
    // Keeps the compiler from holding many values in registers.
    if (n % 2 == 0) __syncwarp();
    float part[kTiles][4];
    multiply_weights<kE>(part, weights, v + 2 * begin, n, lane);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) sums.add(tile, n, part[tile], factors[tile]);
  }
}

/// A block of query rows against all keys that they see. While one product is made of keys the
/// values come, and the other way round.
template <int kE>
__global__ __launch_bounds__(Shares<kE>::kThreads,
                             kE > 128 ? 1 : 2) void attend_bf16(AttentionParams p, Elements y,
                                                                float* log_sum_exp) {
  constexpr int kTiles = Shares<kE>::kTiles, kRows = Shares<kE>::kRows;
  constexpr int kThreads = Shares<kE>::kThreads, kWarps = Shares<kE>::kWarps;
  __shared__ RowTable<kRows> rows;
  __shared__ Softmax softmaxes[kWarps][16 * kTiles];
  __shared__ SeenLimits limits[kWarps];
  char* const shared = dynamic_shared();
  const uint32_t q = shared_address(shared);
  const uint32_t k = q + SharedRows<kE>::bytes(kRows), v = k + SharedRows<kE>::bytes(kBlockKeys);
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  const int warp_row = warp % Shares<kE>::kRowWarps * 16 * kTiles;
  Softmax* const softmax = softmaxes[warp];
  const int kv = blockIdx.y, b = blockIdx.z;
  // Under a causal mask the last rows take longest: they begin first.
  const int begin = (gridDim.x - 1 - blockIdx.x) * kRows;
  rows.fill(p, b, begin, thread, kThreads);
  if (lane < 16 * kTiles) softmax[lane] = empty_softmax();
  load_queries<kE, kRows>(shared, p, b, kv, begin, thread, kThreads);
  __syncthreads();

  const int keys = number_of_keys(p, b);
  const ScoreRule rule(p);
  const auto load = [&](const KeyRows& from, uint32_t to, int key) {
    load_rows_async<SharedRows<kE>, kBlockKeys>(to, from, b, kv, key, keys, thread, kThreads);
    commit_copies();
  };
  constexpr int kColumns = Shares<kE>::kColumns;
  const int column = Shares<kE>::kParts == 1 ? 0 : warp / Shares<kE>::kRowWarps * kColumns;
  RowSums<kTiles, kColumns> sums;
  SequenceKeys sequence;
  while (next_sequence(rows, lane, sequence)) {
    const SeenRows<kRows> seen(rows, limits[warp], warp_row, 16 * kTiles, sequence.start, lane);
    int key = sequence.start + sequence.first_block() * kBlockKeys;
    load(p.keys.keys, k, key);
    for (; key <= sequence.last; key += kBlockKeys) {
      const bool works = seen.any(key, key + kBlockKeys - 1);
      wait_copies<0>();
      __syncthreads();
      load(p.keys.values, v, key);
      Softmax block[kTiles][2];
      WeightTile<kTiles, kBlockKeys / 8> weights;
      if (works) {
        float s[kTiles][kBlockKeys / 8][4];
        multiply_rows<kE>(s, q + SharedRows<kE>::at(warp_row, 0), k, lane);
        softmax_of_block(s, p, rule, seen, kv, begin + warp_row, key, lane, block);
        weights.set(s);
      }
      wait_copies<0>();
      __syncthreads();
      if (key + kBlockKeys <= sequence.last) load(p.keys.keys, k, key + kBlockKeys);
      if (works) add_values<kE>(sums, weights, block, v, column, lane, softmax);
    }
  }
  sums.write(p, b, kv, begin + warp_row, column, lane, softmax, y, log_sum_exp);
}

template <int kE>
cudaError_t launch_attend(const AttentionParams& p, size_t B, size_t K, const Elements& y,
                          float* log_sum_exp, cudaStream_t stream) {
  const dim3 grid(blocks_of(static_cast<size_t>(p.T) * p.group, Shares<kE>::kRows),
                  static_cast<unsigned>(K), static_cast<unsigned>(B));
  return launch(attend_bf16<kE>, {grid, dim3(Shares<kE>::kThreads), shared_bytes<kE>(), stream}, p,
                y, log_sum_exp);
}

}  // namespace

cudaError_t attend_rounded(const AttentionParams& p, size_t B, size_t K, const Elements& y,
                           float* log_sum_exp, cudaStream_t stream) {
  if (p.E <= 64) return launch_attend<64>(p, B, K, y, log_sum_exp, stream);
  if (p.E <= 96) return launch_attend<96>(p, B, K, y, log_sum_exp, stream);
  if (p.E <= 128) return launch_attend<128>(p, B, K, y, log_sum_exp, stream);
  return launch_attend<256>(p, B, K, y, log_sum_exp, stream);
}

}  // namespace llmkit::cuda
