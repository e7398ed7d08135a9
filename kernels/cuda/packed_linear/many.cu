#include "cuda/base/launch.h"
#include "cuda/packed_linear/many_tile.h"

// Products of many rows. A block makes 128 rows of the weight x 64 rows of x, a warp 32 x 32 of it;
// a ring of stages of 64 columns is shared by all. A warp adds up its slices one after the other.
// Where that makes too few blocks for the chip, several share the slices: each leaves its sums in
// memory, and the one that comes last adds them in order.

namespace llmkit::cuda {
namespace {

constexpr int kBlockRows = 64, kStages = 4, kBlocks = 4;
constexpr int kSums = 2 * kBlocks * 4;  // of a thread
/// Blocks that a chip should get at least, if the slices can be shared.
constexpr size_t kWantedBlocks = 128;

template <class Codec>
using Stage = ManyStage<Codec, kBlockRows>;

/// Where the sums of a slice lie while others are made: a thread's are kManyThreads apart.
__device__ __forceinline__ float* part_sums(const SliceParts& parts, int slice) {
  const size_t block = static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x;
  return parts.sums + (block * kSlices + slice) * (kManyThreads * kSums) + threadIdx.x;
}

__device__ __forceinline__ void end_slice(const SliceParts& parts, int index,
                                          Fragments<kBlocks>& slice, Fragments<kBlocks>& total) {
  if (parts.parts == 1) {
    add_to<kBlocks>(total, slice);
  } else {
    float* const sums = part_sums(parts, index);
#pragma unroll
    for (int i = 0; i < kSums; ++i)
      sums[i * kManyThreads] = slice[i / (4 * kBlocks)][i / 4 % kBlocks][i % 4];
  }
  set_zero<kBlocks>(slice);
}

/// The block's slices, into `total` or into memory.
template <class Codec>
__device__ __forceinline__ void multiply_slices(const ForwardArgs& args, const Place& place,
                                                const SliceParts& parts,
                                                Fragments<kBlocks>& total) {
  constexpr int kStage = Stage<Codec>::kBytes;
  char* const shared = dynamic_shared();
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, i = warp % kBlockTiles;
  // The tiles of a block end groups and slices together; the scales are each layer's own.
  const WeightArgs &w = place.layer->weight, &own = place.tile(i).layer->weight;
  const uint32_t ring = shared_address(shared) + Codec::kTableBytes;
  const uint32_t lane_table = shared_address(shared) + lane * 4;
  const int slices = kSlices / parts.parts, last = (blockIdx.z + 1) * slices;
  int index = blockIdx.z * slices;
  const int begin = w.slice(index), end = w.slice(last);
  const auto copy = [&](int tile) {
    if (tile < end)
      copy_stage<Codec, kBlockRows>(args, place, tile, ring + (tile - begin) % kStages * kStage);
    commit_copies();
  };
  for (int s = 0; s < kStages - 1; ++s) copy(begin + s);
  Codec::fill(shared, w.values);

  Fragments<kBlocks> chain, slice;
  set_zero<kBlocks>(chain);
  set_zero<kBlocks>(slice);
  for (; index < last && w.slice(index + 1) == begin; ++index)
    end_slice(parts, index, slice, total);
  for (int tile = begin; tile < end; ++tile) {
    wait_copies<kStages - 2>();
    __syncthreads();
    copy(tile + kStages - 1);
    const uint32_t stage = ring + (tile - begin) % kStages * kStage,
                   codes = stage + Stage<Codec>::kXBytes;
    const SharedTile<SharedRows> at = {codes + i * kTileBytes<Codec>,
                                       stage + Stage<Codec>::kGroups + i * kGroupSpace<Codec>,
                                       {stage, warp / kBlockTiles * 8 * kBlocks}};
    multiply_tile<Codec, kBlocks>(own, at, w.ends_group(tile), lane_table, chain, slice);
    for (; index < last && w.slice(index + 1) == tile + 1; ++index)
      end_slice(parts, index, slice, total);
  }
}

/// Whether this block is the last for its results; their sums are then in memory.
__device__ __forceinline__ bool is_last_part(const SliceParts& parts) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* const counter = parts.counters + blockIdx.y * gridDim.x + blockIdx.x;
    last = atomicAdd(counter, 1u) == static_cast<unsigned>(parts.parts) - 1;
  }
  __syncthreads();
  __threadfence();
  return last;
}

__device__ __forceinline__ void add_parts(const SliceParts& parts, Fragments<kBlocks>& total) {
  for (int slice = 0; slice < kSlices; ++slice) {
    const float* const sums = part_sums(parts, slice);
#pragma unroll
    for (int i = 0; i < kSums; ++i)
      total[i / (4 * kBlocks)][i / 4 % kBlocks][i % 4] += __ldcg(sums + i * kManyThreads);
  }
}

template <class Codec>
__global__ void __launch_bounds__(kManyThreads, 1)
    multiply(const __grid_constant__ ForwardArgs args, const SliceParts parts) {
  const Place place = place_of_block<kBlockRows>(args);
  Fragments<kBlocks> total;
  set_zero<kBlocks>(total);
  multiply_slices<Codec>(args, place, parts, total);
  if (parts.parts > 1) {
    if (!is_last_part(parts)) return;
    add_parts(parts, total);
  }
  const auto meet = [] { __syncthreads(); };
  meet();
  finish_block<kBlockRows, kBlocks>(args, place, reinterpret_cast<float*>(dynamic_shared()), meet,
                                    total);
}

template <class Codec>
cudaError_t launch_multiply(const ForwardArgs& args, const SliceParts& parts, cudaStream_t stream) {
  constexpr int kBytes = Codec::kTableBytes + kStages * Stage<Codec>::kBytes;
  static_assert(kBytes <= 99 * 1024, "what every chip has for a block");
  static_assert(kBytes >= kManyThreads * kSums * 4, "the sums take the place of the ring");
  const dim3 grid(blocks_of(args.m, kBlockRows), row_blocks(args), parts.parts);
  return launch(multiply<Codec>, {grid, kManyThreads, kBytes, stream}, args, parts);
}

}  // namespace

size_t result_tiles(const ForwardArgs& args) {
  return static_cast<size_t>(blocks_of(args.m, kBlockRows)) * row_blocks(args);
}

int parts_for(const ForwardArgs& args) {
  int parts = 1;
  while (parts < kSlices && result_tiles(args) * parts < kWantedBlocks) parts *= 2;
  return parts;
}

size_t part_sums_bytes(const ForwardArgs& args) {
  if (parts_for(args) == 1) return 0;
  return result_tiles(args) * kSlices * kManyThreads * kSums * sizeof(float);
}

cudaError_t multiply_many(const ForwardArgs& args, const SliceParts& parts, PackedCode code,
                          cudaStream_t stream) {
  return with_codec(
      code, [&](auto codec) { return launch_multiply<decltype(codec)>(args, parts, stream); });
}

}  // namespace llmkit::cuda
