#include "cuda/base/launch.h"
#include "cuda/base/warpgroup.h"
#include "cuda/packed_linear/grad_tile.h"
#include "cuda/packed_linear/ring_sm90.h"

// dx = dy · W on chips of compute capability 9.0, whose full rate only products of warpgroups
// reach. A block makes 256 columns x 128 rows, each of two warpgroups 64 of the rows; a third fills
// the ring. While products run, the next operand is decoded into the other of two sets of
// registers.

namespace llmkit::cuda {
namespace {

constexpr int kBlockRows = 128, kStages = 4, kRingBytes = 2 * kStages * 8;

template <class Codec>
using Stage = GradStage<Codec, kBlockRows>;

#ifdef LLMKIT_WARPGROUPS

constexpr int kGroupRows = 64, kBlocks = 8;

/// sums += the tiles of a stage, of this warp's columns.
template <class Codec>
__device__ __forceinline__ void multiply_stage(const WeightArgs& w, uint32_t stage,
                                               uint32_t lane_table, uint32_t (&a)[2][4][4],
                                               float (&sums)[4][kBlocks][4]) {
  const int warp = threadIdx.x / kWarp;
  const uint32_t dy = stage + warp / kColumnTiles * kGroupRows * 128;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
    const int tile = i * kColumnTiles + warp % kColumnTiles;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      wait_products<1>();
      decode_half<Codec>(w, stage + Stage<Codec>::kDyBytes + tile * kTileBytes<Codec>,
                         stage + Stage<Codec>::kGroups + tile * kGroupSpace<Codec>, half,
                         lane_table, a[half]);
      begin_products(a[half]);
#pragma unroll
      for (int b = 0; b < 4; ++b)
        multiply_add_group(sums[b], a[half][b], shared_operand(dy + (2 * i + half) * 32), true);
      commit_products();
    }
  }
  wait_products<0>();  // under way past a loop's end, they would be made to wait for each other
#pragma unroll
  for (int b = 0; b < 4; ++b) settle_sums(sums[b]);
}

/// What a warp copies into the ring. Tiles past the end repeat the last ones: columns are not
/// stored, and rows are multiplied by zeros.
template <class Codec>
__device__ __forceinline__ void fill_stages(const GradArgs& args, const Ring<kStages>& ring,
                                            uint32_t stages) {
  const WeightArgs& w = args.weight;
  const int lane = threadIdx.x % kWarp, m = static_cast<int>(blockIdx.x) * kBlockRows;
  const uint32_t dy_bytes = row_bytes<kBlockRows>(args.m, m);
  for (int step = 0; step < args.steps(); ++step) {
    ring.begin_fill(step, dy_bytes + kStageTiles * tile_bytes<Codec>(w));
    const uint32_t stage = stages + step % kStages * Stage<Codec>::kBytes;
    if (lane < kStageTiles) {
      const StageTile at = tile_of_stage(w, step, lane);
      copy_whole_tile<Codec>(
          w, at.row_tile, at.column_tile, stage + Stage<Codec>::kDyBytes + lane * kTileBytes<Codec>,
          stage + Stage<Codec>::kGroups + lane * kGroupSpace<Codec>, ring.full(step));
    } else if (lane == kStageTiles) {
      copy_bulk(stage, rows_of_tile(args.dy, m, step, args.steps()), dy_bytes, ring.full(step));
    }
  }
}

/// All rows of the weight, and the results.
template <class Codec>
__device__ __forceinline__ void multiply_stages(const GradArgs& args, const Ring<kStages>& ring,
                                                uint32_t stages, uint32_t table) {
  const int warp = threadIdx.x / kWarp;
  const uint32_t lane_table = table + threadIdx.x % kWarp * 4;
  float sums[4][kBlocks][4];
  set_zero_sums(sums);
  uint32_t a[2][4][4];
  for (int step = 0; step < args.steps(); ++step) {
    ring.wait(step);
    multiply_stage<Codec>(args.weight, stages + step % kStages * Stage<Codec>::kBytes, lane_table,
                          a, sums);
    ring.release(step);
  }
  const int tile = static_cast<int>(blockIdx.y) * kColumnTiles + warp % kColumnTiles;
  const int m = static_cast<int>(blockIdx.x) * kBlockRows + warp / kColumnTiles * kGroupRows;
  if (tile < args.weight.column_tiles) store_grad(args, tile, m, sums);
}

template <class Codec>
__device__ __forceinline__ void multiply_block(const GradArgs& args) {
  char* const shared = dynamic_shared();
  const uint32_t table = shared_address(shared), stages = table + Codec::kTableBytes;
  const Ring<kStages> ring = {stages + kStages * Stage<Codec>::kBytes};
  ring.init();
  Codec::fill(shared, args.weight.values);
  __syncthreads();
  fill_and_use([&] { fill_stages<Codec>(args, ring, stages); },
               [&] { multiply_stages<Codec>(args, ring, stages, table); });
}

#endif

template <class Codec>
__global__ void __launch_bounds__(kGroupThreads, 1)
    multiply_by_groups(const __grid_constant__ GradArgs args) {
#ifdef LLMKIT_WARPGROUPS
  multiply_block<Codec>(args);
#endif
}

template <class Codec>
cudaError_t launch_multiply(const GradArgs& args, cudaStream_t stream) {
  constexpr int kBytes = Codec::kTableBytes + kStages * Stage<Codec>::kBytes + kRingBytes;
  static_assert(kBytes <= 227 * 1024, "what a chip of compute capability 9.0 has for a block");
  const dim3 grid(blocks_of(args.m, kBlockRows), blocks_of(args.weight.column_tiles, kColumnTiles));
  return launch(multiply_by_groups<Codec>, {grid, kGroupThreads, kBytes, stream}, args);
}

}  // namespace

cudaError_t multiply_grad_by_groups(const GradArgs& args, PackedCode code, cudaStream_t stream) {
  return with_codec(code,
                    [&](auto codec) { return launch_multiply<decltype(codec)>(args, stream); });
}

}  // namespace llmkit::cuda
