#include "cuda/base/launch.h"
#include "cuda/packed_linear/grad_tile.h"

// dx = dy · W from the bytes of the forward product, by mma.sync. A block makes 256 columns x 64
// rows, a warp 64 x 32 of it.

namespace llmkit::cuda {
namespace {

constexpr int kBlockRows = 64, kBlocks = 4;

template <class Codec>
using Stage = GradStage<Codec, kBlockRows>;
template <class Codec>
constexpr int kStages = Codec::kPlanes == 4 ? 2 : 3;

/// sums += the tiles of a stage, of this warp's columns.
template <class Codec>
__device__ __forceinline__ void multiply_stage(const WeightArgs& w, uint32_t stage,
                                               uint32_t lane_table, float (&sums)[4][kBlocks][4]) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int row = warp / kColumnTiles * 8 * kBlocks;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
    uint32_t dy[kBlocks][4];
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
      load_matrices(dy[block], x_address(stage, row + 8 * block + (lane & 7), 4 * i + (lane >> 3)));
    const int tile = i * kColumnTiles + warp % kColumnTiles;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t a[4][4];
      decode_half<Codec>(w, stage + Stage<Codec>::kDyBytes + tile * kTileBytes<Codec>,
                         stage + Stage<Codec>::kGroups + tile * kGroupSpace<Codec>, half,
                         lane_table, a);
#pragma unroll
      for (int b = 0; b < 4; ++b)
#pragma unroll
        for (int block = 0; block < kBlocks; ++block)
          multiply_add(sums[b][block], a[b], dy[block][2 * half], dy[block][2 * half + 1]);
    }
  }
}

template <class Codec>
__global__ void __launch_bounds__(kGradThreads, 1) multiply(const __grid_constant__ GradArgs args) {
  constexpr int kStage = Stage<Codec>::kBytes, kRing = kStages<Codec>;
  char* const shared = dynamic_shared();
  const WeightArgs& w = args.weight;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const uint32_t ring = shared_address(shared) + Codec::kTableBytes;
  const uint32_t lane_table = shared_address(shared) + lane * 4;
  const int steps = (w.row_tiles + kRowTiles - 1) / kRowTiles;
  const auto copy = [&](int step) {
    if (step < steps) copy_grad_stage<Codec, kBlockRows>(args, step, ring + step % kRing * kStage);
    commit_copies();
  };
  for (int s = 0; s < kRing - 1; ++s) copy(s);
  Codec::fill(shared, w.values);
  float sums[4][kBlocks][4];
  set_zero_sums(sums);
  for (int step = 0; step < steps; ++step) {
    wait_copies<kRing - 2>();
    __syncthreads();
    copy(step + kRing - 1);
    multiply_stage<Codec>(w, ring + step % kRing * kStage, lane_table, sums);
  }
  const int tile = static_cast<int>(blockIdx.y) * kColumnTiles + warp % kColumnTiles;
  const int m = static_cast<int>(blockIdx.x) * kBlockRows + warp / kColumnTiles * 8 * kBlocks;
  if (tile < w.column_tiles) store_grad(args, tile, m, sums);
}

template <class Codec>
cudaError_t launch_multiply(const GradArgs& args, cudaStream_t stream) {
  constexpr int kBytes = Codec::kTableBytes + kStages<Codec> * Stage<Codec>::kBytes;
  static_assert(kBytes <= 99 * 1024, "what every chip has for a block");
  const dim3 grid(blocks_of(args.m, kBlockRows), blocks_of(args.weight.column_tiles, kColumnTiles));
  return launch(multiply<Codec>, {grid, kGradThreads, kBytes, stream}, args);
}

}  // namespace

cudaError_t multiply_grad(const GradArgs& args, PackedCode code, cudaStream_t stream) {
  return with_codec(code,
                    [&](auto codec) { return launch_multiply<decltype(codec)>(args, stream); });
}

}  // namespace llmkit::cuda
