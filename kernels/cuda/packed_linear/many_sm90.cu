#include "cuda/base/launch.h"
#include "cuda/base/warpgroup.h"
#include "cuda/packed_linear/many_tile.h"
#include "cuda/packed_linear/ring_sm90.h"

// Products of many rows on chips of compute capability 9.0, by products of warpgroups. A block
// makes 128 rows of the weight x 128 rows of x, each of two warpgroups 64 of the latter; while one
// scales its sums and decodes, the products of the other run. A third fills the ring. The
// arithmetic is that of tile.h, in the same order; the sums of all slices so far are kept in shared
// memory.

namespace llmkit::cuda {
namespace {

constexpr int kBlockRows = 128, kStages = 4, kBlocks = 8;
/// Blocks from which on there is no need to share the slices.
constexpr size_t kEnoughBlocks = 64;
constexpr int kTotalBytes = kManyThreads * 2 * kBlocks * 4 * 4, kRingBytes = 2 * kStages * 8;
constexpr int kMeetingBytes = 16;

template <class Codec>
using Stage = ManyStage<Codec, kBlockRows>;

#ifdef LLMKIT_WARPGROUPS

/// Queues the products of 32 columns (half 0 or 1): chain [2, 64 rows of x] of this warp's tile.
template <class Codec>
__device__ __forceinline__ void queue_half(const WeightArgs& w, uint32_t codes, uint32_t groups,
                                           uint32_t x, int half, uint32_t lane_table, bool keep,
                                           uint32_t (&a)[4][4], Fragments<kBlocks>& chain) {
  decode_rows<Codec>(w, codes, groups, half, lane_table, a);
  begin_products(a);
#pragma unroll
  for (int step = 0; step < 2; ++step)
#pragma unroll
    for (int b = 0; b < 2; ++b)
      multiply_add_group(chain[b], a[2 * step + b], shared_operand(x + (2 * half + step) * 32),
                         keep || step > 0);
  commit_products();
}

__device__ __forceinline__ void settle_chain(Fragments<kBlocks>& chain) {
#pragma unroll
  for (int b = 0; b < 2; ++b) settle_sums(chain[b]);
}

/// A whole tile. `keep`: its first chain goes on from the tile before it.
template <class Codec>
__device__ __forceinline__ void multiply_stage(const WeightArgs& w, uint32_t stage, bool keep,
                                               bool ends_group, uint32_t lane_table,
                                               Fragments<kBlocks>& chain,
                                               Fragments<kBlocks>& slice) {
  const int warp = threadIdx.x / kWarp, P = threadIdx.x % kWarp >> 2, i = warp % kBlockTiles;
  const uint32_t codes = stage + Stage<Codec>::kXBytes + i * kTileBytes<Codec>;
  const uint32_t groups = stage + Stage<Codec>::kGroups + i * kGroupSpace<Codec>;
  const uint32_t x = stage + warp / kBlockTiles * 64 * 128;
  uint32_t first[4][4], second[4][4];
  queue_half<Codec>(w, codes, groups, x, 0, lane_table, keep, first, chain);
  const bool halves = Codec::kScaled && w.half_tiles;
  if (halves) {
    wait_products<0>();
    settle_chain(chain);
    add_chain<Codec, kBlocks>(w, groups, P, chain, slice);
  }
  queue_half<Codec>(w, codes, groups, x, 1, lane_table, !halves, second, chain);
  wait_products<0>();
  settle_chain(chain);
  const uint32_t scales = groups + (halves ? w.scale_stride : 0);
  if (ends_group) add_chain<Codec, kBlocks>(w, scales, P, chain, slice);
}

/// Adds a slice to this thread's sums in shared memory, or sets them to the first.
__device__ __forceinline__ void end_slice(float* totals, bool is_first, Fragments<kBlocks>& slice) {
#pragma unroll
  for (int i = 0; i < 8 * kBlocks; ++i) {
    float& total = totals[i * kManyThreads];
    const float sum = slice[i / (4 * kBlocks)][i / 4 % kBlocks][i % 4];
    total = (is_first ? 0.0f : total) + sum;
  }
  set_zero<kBlocks>(slice);
}

/// What a warp copies into the ring: row tiles past the end repeat the last one, since their
/// results are not stored.
template <class Codec>
__device__ __forceinline__ void fill_stages(const ForwardArgs& args, const Place& place,
                                            const Ring<kStages>& ring, uint32_t stages) {
  const int lane = threadIdx.x % kWarp;
  const TilePlace at = place.tile(lane % kBlockTiles);
  const WeightArgs& w = at.layer->weight;
  const int row_tile = min(at.row_tile, w.row_tiles - 1);
  const uint32_t x_bytes = row_bytes<kBlockRows>(args.m, place.m);
  const uint32_t stage_bytes = x_bytes + kBlockTiles / 2 *
                                             (tile_bytes<Codec>(place.tile(0).layer->weight) +
                                              tile_bytes<Codec>(place.tile(2).layer->weight));
  for (int tile = 0; tile < w.column_tiles; ++tile) {
    ring.begin_fill(tile, stage_bytes);
    const uint32_t stage = stages + tile % kStages * Stage<Codec>::kBytes;
    if (lane < kBlockTiles)
      copy_whole_tile<Codec>(
          w, row_tile, tile, stage + Stage<Codec>::kXBytes + lane * kTileBytes<Codec>,
          stage + Stage<Codec>::kGroups + lane * kGroupSpace<Codec>, ring.full(tile));
    else if (lane == kBlockTiles)
      copy_bulk(stage, rows_of_tile(args.x, place.m, tile, w.column_tiles), x_bytes,
                ring.full(tile));
  }
}

/// All slices, and the results.
template <class Codec>
__device__ __forceinline__ void multiply_slices(const ForwardArgs& args, const Place& place,
                                                const Ring<kStages>& ring, const Meeting& meeting,
                                                uint32_t stages, uint32_t table, float* shared) {
  const int warp = threadIdx.x / kWarp;
  // The tiles of a block end groups and slices together; the scales are each layer's own.
  const WeightArgs &w = place.layer->weight, &own = place.tile(warp % kBlockTiles).layer->weight;
  const uint32_t lane_table = table + threadIdx.x % kWarp * 4;
  float* const totals = shared + threadIdx.x;
  Fragments<kBlocks> chain, slice;
  set_zero<kBlocks>(chain);
  set_zero<kBlocks>(slice);
  int index = 0;
  for (; w.slice(index + 1) == 0; ++index) end_slice(totals, index == 0, slice);
  for (int tile = 0; tile < w.column_tiles; ++tile) {
    ring.wait(tile);
    const bool keep = tile > 0 && !w.ends_group(tile - 1);
    multiply_stage<Codec>(own, stages + tile % kStages * Stage<Codec>::kBytes, keep,
                          w.ends_group(tile), lane_table, chain, slice);
    ring.release(tile);
    for (; index < kSlices && w.slice(index + 1) == tile + 1; ++index)
      end_slice(totals, index == 0, slice);
  }
#pragma unroll
  for (int i = 0; i < 8 * kBlocks; ++i)
    slice[i / (4 * kBlocks)][i / 4 % kBlocks][i % 4] = totals[i * kManyThreads];
  finish_block<kBlockRows, kBlocks>(
      args, place, shared, [&] { meeting.wait(); }, slice);
}

template <class Codec>
__device__ __forceinline__ void multiply_block(const ForwardArgs& args) {
  char* const shared = dynamic_shared();
  const Place place = place_of_block<kBlockRows>(args);
  const uint32_t table = shared_address(shared), stages = table + Codec::kTableBytes;
  char* const after = shared + Codec::kTableBytes + kStages * Stage<Codec>::kBytes;
  const Ring<kStages> ring = {shared_address(after)};
  const Meeting meeting = {shared_address(after) + kRingBytes};
  ring.init();
  meeting.init();
  Codec::fill(shared, place.layer->weight.values);
  __syncthreads();
  fill_and_use([&] { fill_stages<Codec>(args, place, ring, stages); },
               [&] {
                 float* const sums = reinterpret_cast<float*>(after + kRingBytes + kMeetingBytes);
                 multiply_slices<Codec>(args, place, ring, meeting, stages, table, sums);
               });
}

#endif

template <class Codec>
__global__ void __launch_bounds__(kGroupThreads, 1)
    multiply_by_groups(const __grid_constant__ ForwardArgs args) {
#ifdef LLMKIT_WARPGROUPS
  multiply_block<Codec>(args);
#endif
}

template <class Codec>
cudaError_t launch_multiply(const ForwardArgs& args, cudaStream_t stream) {
  constexpr int kBytes = Codec::kTableBytes + kStages * Stage<Codec>::kBytes + kRingBytes +
                         kMeetingBytes + kTotalBytes;
  static_assert(kBytes <= 227 * 1024, "what a chip of compute capability 9.0 has for a block");
  const dim3 grid(blocks_of(args.m, kBlockRows), row_blocks(args));
  return launch(multiply_by_groups<Codec>, {grid, kGroupThreads, kBytes, stream}, args);
}

}  // namespace

bool prefers_groups(const ForwardArgs& args) {
  return static_cast<size_t>(blocks_of(args.m, kBlockRows)) * row_blocks(args) >= kEnoughBlocks;
}

cudaError_t multiply_many_by_groups(const ForwardArgs& args, PackedCode code, cudaStream_t stream) {
  return with_codec(code,
                    [&](auto codec) { return launch_multiply<decltype(codec)>(args, stream); });
}

}  // namespace llmkit::cuda
