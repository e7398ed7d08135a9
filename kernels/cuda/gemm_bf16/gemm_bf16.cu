#include "cuda/base/launch.h"
#include "cuda/gemm_bf16/gemm_bf16.h"
#include "cuda/gemm_bf16/products.h"
#include "cuda/gemm_bf16/tile.h"
#include "cuda/warpgroups/warpgroups.h"

namespace llmkit::cuda {
namespace {

/// A block of four warps, 2 x 2, makes [kSide, kSide] of y. Both sizes give the same bits.
constexpr int kThreads = 128, kStages = 4;
constexpr int kLargeSide = 128, kSmallSide = 64;
template <int kSide, bool kAcrossA, bool kAcrossB>
struct Stages {
  using TileA = Bf16Tile<kSide, kAcrossA>;
  using TileB = Bf16Tile<kSide, kAcrossB>;
  static constexpr int kStageBytes = TileA::kBytes + TileB::kBytes;
  static constexpr int kBytes = kStages * kStageBytes;
};

/// The sums of a warp: [kSide / 2, kSide / 2] of y in 16 x 8 blocks.
template <int kSide>
struct WarpSums {
  static constexpr int kRows = kSide / 32, kCols = kSide / 16;
  float values[kRows][kCols][4];

  /// Adds the product of one tile, at rows `row` of a and `col` of b.
  template <class TileA, class TileB>
  __device__ __forceinline__ void add_tile(uint32_t a, uint32_t b, int row, int col) {
#pragma unroll
    for (int step = 0; step < kBf16Depth / 16; ++step) {
      uint32_t left[kRows][4], right[kCols / 2][4];
#pragma unroll
      for (int i = 0; i < kRows; ++i) TileA::load(left[i], a, row + 16 * i, step, 0, 1);
#pragma unroll
      for (int j = 0; j < kCols / 2; ++j) TileB::load(right[j], b, col + 16 * j, step, 1, 0);
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int j = 0; j < kCols; ++j)
          multiply_add(values[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
    }
  }
};

template <int kSide>
__device__ __forceinline__ void write(const Bf16GemmArgs& args, const WarpSums<kSide>& sums,
                                      size_t row, size_t col) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = 0; i < sums.kRows; ++i)
#pragma unroll
    for (int j = 0; j < sums.kCols; ++j) {
      const float(&four)[4] = sums.values[i][j];
      const size_t r = row + 16 * i + lane / 4, c = col + 8 * j + 2 * (lane % 4);
      write_pair(args, r, c, four[0], four[1]);
      write_pair(args, r + 8, c, four[2], four[3]);
    }
}

template <int kSide, bool kAcrossA, bool kAcrossB>
__global__ void __launch_bounds__(kThreads, 2) gemm_bf16_kernel(Bf16GemmArgs args) {
  using Ring = Stages<kSide, kAcrossA, kAcrossB>;
  using TileA = typename Ring::TileA;
  using TileB = typename Ring::TileB;
  const uint32_t ring = shared_address(dynamic_shared());
  const size_t row = size_t{blockIdx.x} * kSide, col = size_t{blockIdx.y} * kSide;
  const int tiles = static_cast<int>((args.k + kBf16Depth - 1) / kBf16Depth);
  const auto copy = [&](int tile) {
    if (tile < tiles) {
      const uint32_t stage = ring + tile % kStages * Ring::kStageBytes;
      const size_t k = size_t{kBf16Depth} * tile;
      TileA::template copy<kThreads>(stage, args.a, row, args.m, k, args.k);
      TileB::template copy<kThreads>(stage + TileA::kBytes, args.b, col, args.n, k, args.k);
    }
    commit_copies();
  };
#pragma unroll
  for (int tile = 0; tile < kStages - 1; ++tile) copy(tile);

  const int warp = threadIdx.x / kWarp, warp_row = warp % 2 * (kSide / 2);
  const int warp_col = warp / 2 * (kSide / 2);
  WarpSums<kSide> sums = {};
  for (int tile = 0; tile < tiles; ++tile) {
    wait_copies<kStages - 2>();
    __syncthreads();
    copy(tile + kStages - 1);
    const uint32_t stage = ring + tile % kStages * Ring::kStageBytes;
    sums.template add_tile<TileA, TileB>(stage, stage + TileA::kBytes, warp_row, warp_col);
  }
  write(args, sums, row + warp_row, col + warp_col);
}

template <int kSide, bool kAcrossA, bool kAcrossB>
cudaError_t launch_form(const Bf16GemmArgs& args, cudaStream_t stream) {
  const dim3 grid(blocks_of(args.m, kSide), blocks_of(args.n, kSide));
  const size_t bytes = Stages<kSide, kAcrossA, kAcrossB>::kBytes;
  return launch(gemm_bf16_kernel<kSide, kAcrossA, kAcrossB>, {grid, kThreads, bytes, stream}, args);
}

template <int kSide>
cudaError_t launch_side(const Bf16GemmArgs& args, cudaStream_t stream) {
  if (args.a.across && !args.b.across) return cudaErrorInvalidValue;
  if (args.a.across) return launch_form<kSide, true, true>(args, stream);
  if (args.b.across) return launch_form<kSide, false, true>(args, stream);
  return launch_form<kSide, false, false>(args, stream);
}

}  // namespace

cudaError_t gemm_bf16(const Bf16GemmArgs& args, cudaStream_t stream) {
  if (args.m == 0 || args.n == 0) return cudaSuccess;
  // Without any k there is nothing that a copy engine could be given.
  if (!args.a.across && !args.b.across && args.k > 0 && has_warpgroups())
    return gemm_bf16_by_groups(args, stream);
  const size_t large = size_t{blocks_of(args.m, kLargeSide)} * blocks_of(args.n, kLargeSide);
  if (large >= kEnoughBlocks) return launch_side<kLargeSide>(args, stream);
  return launch_side<kSmallSide>(args, stream);
}

}  // namespace llmkit::cuda
