#include "cuda/base/launch.h"
#include "cuda/packed_linear/products.h"
#include "cuda/packed_linear/tile.h"
#include "cuda/packed_linear/update.h"

// Products of at most 16 rows, bound by reading the weight. A block makes 32 rows of it: its 8
// warps are the 8 slices of the columns, each with a ring of its own that no barrier of the block
// holds up.

namespace llmkit::cuda {
namespace {

constexpr int kWarps = kSlices;

template <class Codec, int kBlocks>
constexpr int kStageBytes = kBlocks * 1024 + kTileBytes<Codec> + kGroupSpace<Codec>;

/// A layer and which 32 of its rows the block makes.
struct Place {
  const LayerArgs* layer;
  int row_tile;
};
__device__ __forceinline__ Place place_of_block(const ForwardArgs& args) {
  int index = 0, tile = static_cast<int>(blockIdx.x);
  while (tile >= args.layers[index].weight.row_tiles) tile -= args.layers[index++].weight.row_tiles;
  return {&args.layers[index], tile};
}

/// Queues the copies of a tile and of its columns of x into a stage of the warp's ring.
template <class Codec, int kBlocks>
__device__ __forceinline__ void copy_stage(const ForwardArgs& args, const Place& place, int tile,
                                           uint32_t stage, uint64_t policy) {
  const WeightArgs& w = place.layer->weight;
  const int lane = threadIdx.x % kWarp;
  const uint32_t codes = stage + kBlocks * 1024;
  const size_t index = static_cast<size_t>(place.row_tile) * w.column_tiles + tile;
  const char* const from = w.codes + index * kTileBytes<Codec>;
#pragma unroll
  for (int i = 0; i < kTileBytes<Codec>; i += kWarp * 16)
    copy_async_once(codes + i + lane * 16, from + i + lane * 16, policy);
  if (Codec::kScaled)
    copy_group_piece(w, place.row_tile, tile, true, codes + kTileBytes<Codec>, lane);
#pragma unroll
  for (int i = 0; i < 2 * kBlocks; ++i) {
    const int row = 4 * i + (lane >> 3), piece = lane & 7;
    const size_t stride = static_cast<size_t>(w.column_tiles) * kTileColumns;
    if (row < args.m)
      copy_async(x_address(stage, row, piece),
                 args.x + row * stride + tile * kTileColumns + piece * 8);
  }
}

/// The sums of the warp's slice.
template <class Codec, int kBlocks, int kStages>
__device__ __forceinline__ void multiply_slice(const ForwardArgs& args, const Place& place,
                                               char* shared, Fragments<kBlocks>& slice) {
  constexpr int kStage = kStageBytes<Codec, kBlocks>;
  const WeightArgs& w = place.layer->weight;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  char* const memory = shared + Codec::kTableBytes + warp * kStages * kStage;
  for (int i = lane; i < kStages * kStage / 16; i += kWarp)  // rows past m stay zero
    reinterpret_cast<uint4*>(memory)[i] = make_uint4(0, 0, 0, 0);
  __syncwarp();
  const uint32_t ring = shared_address(memory), lane_table = shared_address(shared) + lane * 4;
  const int begin = w.slice(warp), end = w.slice(warp + 1);
  const uint64_t policy = evict_first_policy();
  const auto copy = [&](int tile) {
    if (tile < end)
      copy_stage<Codec, kBlocks>(args, place, tile, ring + (tile - begin) % kStages * kStage,
                                 policy);
    commit_copies();
  };
  for (int i = 0; i < kStages - 1; ++i) copy(begin + i);
  Codec::fill(shared, w.values);
  __syncthreads();

  Fragments<kBlocks> chain;
  set_zero<kBlocks>(chain);
  for (int tile = begin; tile < end; ++tile) {
    wait_copies<kStages - 2>();
    __syncwarp();
    const uint32_t stage = ring + (tile - begin) % kStages * kStage, codes = stage + kBlocks * 1024;
    copy(tile + kStages - 1);
    multiply_tile<Codec, kBlocks>(w, {codes, codes + kTileBytes<Codec>, stage, 0},
                                  w.ends_group(tile), lane_table, chain, slice);
  }
  wait_copies<0>();
}

/// Writes a warp's sums to its [8 * kBlocks, 32] of shared memory.
template <int kBlocks>
__device__ __forceinline__ void keep(float* sums, const Fragments<kBlocks>& slice) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int b = 0; b < 2; ++b)
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int c = 0; c < 4; ++c)
        sums[(8 * block + 2 * (lane & 3) + (c & 1)) * kTileRows +
             chunk_row(lane >> 2, 2 * b + (c >> 1))] = slice[b][block][c];
}

/// The update's sums, made by one warp.
template <int kBlocks>
__device__ __forceinline__ void add_update(const LayerArgs& layer, int row, int m,
                                           Fragments<kBlocks>& sums) {
  const int P = threadIdx.x % kWarp >> 2;
#pragma unroll
  for (int b = 0; b < 2; ++b)
    multiply_update<kBlocks>(layer.update, row + chunk_row(P, 2 * b), row + chunk_row(P, 2 * b + 1),
                             layer.weight.rows, 0, m, sums[b]);
}

template <class Codec, int kBlocks, int kStages>
__global__ void __launch_bounds__(kWarps* kWarp)
    multiply(const __grid_constant__ ForwardArgs args) {
  char* const shared = dynamic_shared();
  const Place place = place_of_block(args);
  const LayerArgs& layer = *place.layer;
  const int warp = threadIdx.x / kWarp, row = place.row_tile * kTileRows;
  Fragments<kBlocks> sums;
  set_zero<kBlocks>(sums);
  multiply_slice<Codec, kBlocks, kStages>(args, place, shared, sums);
  __syncthreads();
  constexpr int kSums = 8 * kBlocks * kTileRows;
  float* const parts = reinterpret_cast<float*>(shared + Codec::kTableBytes);  // [8, m, 32]
  keep<kBlocks>(parts + warp * kSums, sums);
  if (layer.update.rank > 0 && warp == 0) {
    set_zero<kBlocks>(sums);
    add_update<kBlocks>(layer, row, args.m, sums);
    keep<kBlocks>(parts + kSlices * kSums, sums);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < args.m * kTileRows; i += blockDim.x) {
    const int n = row + i % kTileRows;
    if (n >= layer.weight.rows) continue;
    float sum = 0;
#pragma unroll
    for (int s = 0; s < kSlices; ++s) sum += parts[s * kSums + i];
    if (layer.update.rank > 0) sum += parts[kSlices * kSums + i];
    const size_t index = static_cast<size_t>(i / kTileRows) * layer.weight.rows + n;
    layer.y[index] = finish(layer, sum, n, index);
  }
}

template <class Codec, int kBlocks, int kStages>
cudaError_t launch_multiply(const ForwardArgs& args, cudaStream_t stream) {
  constexpr int kBytes = Codec::kTableBytes + kWarps * kStages * kStageBytes<Codec, kBlocks>;
  static_assert(kBytes <= 99 * 1024, "what every chip has for a block");
  static_assert(kWarps * kStages * kStageBytes<Codec, kBlocks> >= 9 * 8 * kBlocks * kTileRows * 4,
                "the sums take the place of the ring");
  unsigned tiles = 0;
  for (int i = 0; i < args.count; ++i) tiles += args.layers[i].weight.row_tiles;
  return launch(multiply<Codec, kBlocks, kStages>, {tiles, kWarps * kWarp, kBytes, stream}, args);
}

template <class Codec, int kStagesOfEight, int kStagesOfSixteen>
cudaError_t choose(const ForwardArgs& args, cudaStream_t stream) {
  return args.m <= 8 ? launch_multiply<Codec, 1, kStagesOfEight>(args, stream)
                     : launch_multiply<Codec, 2, kStagesOfSixteen>(args, stream);
}

}  // namespace

cudaError_t multiply_few(const ForwardArgs& args, PackedCode code, cudaStream_t stream) {
  switch (code) {
    case PackedCode::kInt4:
      return choose<Int4Codec, 4, 3>(args, stream);
    case PackedCode::kTable:
      return choose<TableCodec, 3, 2>(args, stream);
    case PackedCode::kInt8:
      return choose<Int8Codec, 3, 2>(args, stream);
    case PackedCode::kBf16:
      return choose<Bf16Codec, 2, 2>(args, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace llmkit::cuda
