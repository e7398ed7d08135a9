#include "cuda/base/launch.h"
#include "cuda/base/warpgroup.h"
#include "cuda/packed_linear/grad_tile.h"

// dx = dy · W on chips of compute capability 9.0, whose full rate only products of warpgroups
// reach. A block makes 256 columns x 128 rows, each of its two warpgroups 64 of the rows. While
// products run, the next operand is decoded into the other of two sets of registers.

namespace llmkit::cuda {
namespace {

constexpr int kBlockRows = 128, kStages = 4;

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
}

template <class Codec>
__device__ __forceinline__ void multiply_block(const GradArgs& args) {
  constexpr int kStage = Stage<Codec>::kBytes;
  char* const shared = dynamic_shared();
  const WeightArgs& w = args.weight;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const uint32_t ring = shared_address(shared) + Codec::kTableBytes;
  const uint32_t lane_table = shared_address(shared) + lane * 4;
  const int steps = (w.row_tiles + kRowTiles - 1) / kRowTiles;
  const auto copy = [&](int step) {
    if (step < steps)
      copy_grad_stage<Codec, kBlockRows>(args, step, ring + step % kStages * kStage);
    commit_copies();
  };
  for (int s = 0; s < kStages - 1; ++s) copy(s);
  Codec::fill(shared, w.values);
  float sums[4][kBlocks][4];
  set_zero_sums(sums);
  uint32_t a[2][4][4];
  for (int step = 0; step < steps; ++step) {
    wait_copies<kStages - 2>();
    publish_shared();
    __syncthreads();
    copy(step + kStages - 1);
    multiply_stage<Codec>(w, ring + step % kStages * kStage, lane_table, a, sums);
  }
  const int tile = static_cast<int>(blockIdx.y) * kColumnTiles + warp % kColumnTiles;
  const int m = static_cast<int>(blockIdx.x) * kBlockRows + warp / kColumnTiles * kGroupRows;
  if (tile < w.column_tiles) store_grad(args, tile, m, sums);
}

#endif

template <class Codec>
__global__ void __launch_bounds__(kGradThreads, 1)
    multiply_by_groups(const __grid_constant__ GradArgs args) {
#ifdef LLMKIT_WARPGROUPS
  multiply_block<Codec>(args);
#endif
}

template <class Codec>
cudaError_t launch_multiply(const GradArgs& args, cudaStream_t stream) {
  constexpr int kBytes = Codec::kTableBytes + kStages * Stage<Codec>::kBytes;
  static_assert(kBytes <= 227 * 1024, "what a chip of compute capability 9.0 has for a block");
  const dim3 grid(blocks_of(args.m, kBlockRows), blocks_of(args.weight.column_tiles, kColumnTiles));
  return launch(multiply_by_groups<Codec>, {grid, kGradThreads, kBytes, stream}, args);
}

}  // namespace

cudaError_t multiply_grad_by_groups(const GradArgs& args, PackedCode code, cudaStream_t stream) {
  switch (code) {
    case PackedCode::kInt4:
      return launch_multiply<Int4Codec>(args, stream);
    case PackedCode::kTable:
      return launch_multiply<TableCodec>(args, stream);
    case PackedCode::kInt8:
      return launch_multiply<Int8Codec>(args, stream);
    case PackedCode::kBf16:
      return launch_multiply<Bf16Codec>(args, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace llmkit::cuda
