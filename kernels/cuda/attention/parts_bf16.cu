#include "cuda/attention/forward_bf16.h"
#include "cuda/attention/kernels.h"
#include "cuda/base/launch.h"

// Few queries and many keys: each warp makes the parts of one block of keys after another, on its
// own, for 16 query rows.

namespace llmkit::cuda {
namespace {

constexpr int kRows = 16;

/// Warps of a block, as many as shared memory has room for.
template <int kE>
constexpr int kWarpsOf = kE > 128  ? 1
                         : kE > 64 ? 2
                                   : 4;

template <int kE>
constexpr size_t shared_bytes() {
  return SharedRows<kE>::bytes(kRows + 2 * kBlockKeys * kWarpsOf<kE>);
}

/// The same as load_rows_async for rows of any type, which wait for their values.
template <int kE>
__device__ inline void round_rows_to(char* to, const KeyRows& rows, int b, int head, int begin,
                                     int keys, int lane) {
  using Shared = SharedRows<kE>;
#pragma unroll 4
  for (int i = lane; i < kBlockKeys * Shared::kChunks; i += kWarp) {
    const int row = i / Shared::kChunks, chunk = i % Shared::kChunks;
    float x[8] = {};
    if (begin + row < keys) read_row(rows, b, head, begin + row, chunk * 8, x);
    *reinterpret_cast<uint4*>(to + Shared::at(row, chunk)) = packed(x, 1);
  }
}

/// Asks for a block of keys or values; commit_copies() and wait_copies() follow.
template <int kE>
__device__ inline void load_block(char* to, const KeyRows& from, int b, int head, int begin,
                                  int keys, int lane) {
  if (from.type == KvType::kBf16)
    load_rows_async<SharedRows<kE>, kBlockKeys>(shared_address(to), from, b, head, begin, keys,
                                                lane, kWarp);
  else
    round_rows_to<kE>(to, from, b, head, begin, keys, lane);
}

template <int kE>
__device__ __forceinline__ void write_part(const AttentionParams& p, const Parts& parts, int b,
                                           int kv, int begin, int block, int lane,
                                           const WeightTile<1, kBlockKeys / 8>& weights,
                                           const Softmax (&softmax)[1][2], uint32_t values) {
  float* rows[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = begin + half * 8 + tile_row(lane);
    rows[half] = nullptr;
    if (row >= p.rows()) continue;
    const size_t part = parts.at(query_of(p, b, kv, row), block);
    rows[half] = parts.values + part * p.E;
    if (lane % 4 == 0) parts.softmaxes[part] = softmax[0][half];
  }
#pragma unroll 4
  for (int n = 0; n < kE / 8; ++n) {
    float sums[1][4];
    multiply_weights<kE>(sums, weights, values, n, lane);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = 8 * n + tile_column(lane) + i % 2;
      if (rows[i / 2] != nullptr && column < p.E) rows[i / 2][column] = sums[0][i];
    }
  }
}

/// Warp w of block x makes the parts of `each` blocks of keys from (x · warps + w) · each on.
template <int kE>
__global__ __launch_bounds__(kWarpsOf<kE>* kWarp, 3) void parts_bf16(AttentionParams p, Parts parts,
                                                                     int tiles, int each) {
  constexpr int kWarps = kWarpsOf<kE>;
  __shared__ RowTable<kRows> rows;
  __shared__ SeenLimits limits[kWarps];
  char* const shared = dynamic_shared();
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  const int kv = blockIdx.y / tiles, begin = blockIdx.y % tiles * kRows, b = blockIdx.z;
  wait_for_inputs();
  let_next_begin();
  rows.fill(p, b, begin, thread, kWarps * kWarp);
  load_queries<kE, kRows>(shared, p, b, kv, begin, thread, kWarps * kWarp);
  __syncthreads();

  const SeenRows<kRows> seen(rows, limits[warp], 0, kRows, 0, lane);
  const int from = (blockIdx.x * kWarps + warp) * each;
  const int first = max(from, limits[warp].any_first / kBlockKeys);
  const int end = min(from + each, (limits[warp].any_last + kBlockKeys) / kBlockKeys);
  if (first >= end) return;

  const int keys = number_of_keys(p, b);
  const ScoreRule rule(p);
  char* const k = shared + SharedRows<kE>::bytes(kRows + 2 * kBlockKeys * warp);
  char* const v = k + SharedRows<kE>::bytes(kBlockKeys);
  const auto load = [&](char* to, const KeyRows& of, int block) {
    if (block < end) load_block<kE>(to, of, b, kv, block * kBlockKeys, keys, lane);
    commit_copies();
  };
  load(k, p.keys.keys, first);
  load(v, p.keys.values, first);
  for (int block = first; block < end; ++block) {
    wait_copies<1>();
    __syncwarp();
    float s[1][kBlockKeys / 8][4];
    multiply_rows<kE>(s, shared_address(shared), shared_address(k), lane);
    __syncwarp();
    load(k, p.keys.keys, block + 1);
    Softmax softmax[1][2];
    softmax_of_block(s, p, rule, seen, kv, begin, block * kBlockKeys, lane, softmax);
    WeightTile<1, kBlockKeys / 8> weights;
    weights.set(s);
    wait_copies<1>();
    __syncwarp();
    write_part<kE>(p, parts, b, kv, begin, block, lane, weights, softmax, shared_address(v));
    __syncwarp();
    load(v, p.keys.values, block + 1);
  }
}

template <int kE>
cudaError_t launch_parts(const AttentionParams& p, const Parts& parts, size_t B, size_t K,
                         cudaStream_t stream) {
  constexpr int kWarps = kWarpsOf<kE>;
  const unsigned tiles = blocks_of(static_cast<size_t>(p.T) * p.group, kRows);
  // Enough warps to fill any machine come first; then more keys for each of them.
  const size_t warps = B * K * tiles * static_cast<size_t>(parts.blocks);
  const int each = warps >= 8192 ? 4 : warps >= 4096 ? 2 : 1;
  const dim3 grid(blocks_of(parts.blocks, static_cast<size_t>(kWarps) * each),
                  static_cast<unsigned>(K) * tiles, static_cast<unsigned>(B));
  Launch how = {grid, dim3(kWarps * kWarp), shared_bytes<kE>(), stream};
  how.early = true;
  return launch(parts_bf16<kE>, how, p, parts, static_cast<int>(tiles), each);
}

}  // namespace

cudaError_t rounded_parts(const AttentionParams& p, const Parts& parts, size_t B, size_t K,
                          cudaStream_t stream) {
  if (p.E <= 64) return launch_parts<64>(p, parts, B, K, stream);
  if (p.E <= 96) return launch_parts<96>(p, parts, B, K, stream);
  if (p.E <= 128) return launch_parts<128>(p, parts, B, K, stream);
  return launch_parts<256>(p, parts, B, K, stream);
}

}  // namespace llmkit::cuda
