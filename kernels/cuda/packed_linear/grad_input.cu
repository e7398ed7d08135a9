#include "cuda/base/launch.h"
#include "cuda/packed_linear/products.h"
#include "cuda/packed_linear/tile.h"
#include "cuda/packed_linear/update.h"

// dx = dy · W from the bytes of the forward product. A block makes 256 columns of the weight x 64
// rows of dy, a warp 64 x 32 of it, with all rows of the weight in ascending order. The scales are
// those of the rows, which the sums run over: they are multiplied into the codes.

namespace llmkit::cuda {
namespace {

constexpr int kThreads = 256, kColumnTiles = 4, kRowTiles = 2, kBlockRows = 64, kBlocks = 4;
constexpr int kTiles = kColumnTiles * kRowTiles;  // of a stage
constexpr int kDyBytes = kBlockRows * 128;

template <class Codec>
constexpr int kStageBytes = kDyBytes + kTiles*(kTileBytes<Codec> + kGroupSpace<Codec>);
template <class Codec>
constexpr int kStages = Codec::kPlanes == 4 ? 2 : 3;

/// The sums of a warp: fragment [b][block][c] is column chunk_column(lane / 4, 2b + c / 2) of its
/// tile, row 8 block + 2 (lane % 4) + c % 2 of dy.
using Sums = float[4][kBlocks][4];

/// The tile of a stage that a place in it is for; whether there is such a tile.
struct StageTile {
  int row_tile, column_tile;
  bool valid;
};
__device__ __forceinline__ StageTile tile_of_stage(const WeightArgs& w, int step, int index) {
  const int row = step * kRowTiles + index / kColumnTiles;
  const int column = static_cast<int>(blockIdx.y) * kColumnTiles + index % kColumnTiles;
  return {min(row, w.row_tiles - 1), min(column, w.column_tiles - 1),
          row < w.row_tiles && column < w.column_tiles};
}

/// Queues the copies of two rows of tiles and of the columns of dy that they multiply.
template <class Codec>
__device__ __forceinline__ void copy_stage(const GradArgs& args, int step, uint32_t stage) {
  const WeightArgs& w = args.weight;
  const int thread = static_cast<int>(threadIdx.x);
  constexpr int kPieces = kTileBytes<Codec> / 16;
#pragma unroll
  for (int i = 0; i < kTiles * kPieces; i += kThreads) {
    const int piece = i + thread;
    const StageTile at = tile_of_stage(w, step, piece / kPieces);
    const size_t index = static_cast<size_t>(at.row_tile) * w.column_tiles + at.column_tile;
    copy_async_or_zero(stage + kDyBytes + piece * 16,
                       w.codes + index * kTileBytes<Codec> + piece % kPieces * 16, at.valid);
  }
  constexpr int kGroupPieces = (kScaleSpace + kZeroSpace) / 16;
  if (Codec::kScaled && thread < kTiles * kGroupPieces) {
    const int i = thread / kGroupPieces;
    const StageTile at = tile_of_stage(w, step, i);
    copy_group_piece(w, at.row_tile, at.column_tile, at.valid,
                     stage + kDyBytes + kTiles * kTileBytes<Codec> + i * kGroupSpace<Codec>,
                     thread % kGroupPieces);
  }
#pragma unroll
  for (int i = 0; i < kBlockRows * 8; i += kThreads) {
    const int row = (i + thread) >> 3, piece = thread & 7;
    const int m = min(static_cast<int>(blockIdx.x) * kBlockRows + row, args.m - 1);
    copy_async(x_address(stage, row, piece),
               args.dy + static_cast<size_t>(m) * args.dy_stride + step * kTileColumns + piece * 8);
  }
}

/// The scales of rows (0, 1) and (2, 3) of a chunk, each as two bf16 pairs that add up to it.
struct ScalePairs {
  SplitPair pairs[2];
};

/// code * scale rounded to bf16: the low part of the scale is added before the one rounding that
/// counts.
__device__ __forceinline__ uint32_t scaled(uint32_t codes, const SplitPair& scale) {
  const bf16x2 rest = __hmul2(as_pair(codes), as_pair(scale.low));
  return as_bits(__hfma2(as_pair(codes), as_pair(scale.high), rest));
}

/// A register (k, k + 1) of rows n and n + 1 each, turned into (n, n + 1) of columns k and k + 1.
struct Turned {
  uint32_t first, second;
};
template <class Codec>
__device__ __forceinline__ Turned turn(uint32_t n, uint32_t next, const SplitPair& scale) {
  const uint32_t first = __byte_perm(n, next, 0x5410), second = __byte_perm(n, next, 0x7632);
  if constexpr (!Codec::kScaled) return {first, second};
  return {scaled(first, scale), scaled(second, scale)};
}

template <class Codec>
__device__ __forceinline__ ScalePairs load_scale_pairs(const WeightArgs& w, uint32_t scales,
                                                       int P) {
  ScalePairs pairs = {};
  if constexpr (Codec::kScaled) {
    float scale[4];
    load_scales(w, scales, P, scale);
    pairs = {{split_pair(scale[0], scale[1]), split_pair(scale[2], scale[3])}};
  }
  return pairs;
}

/// sums += 16 rows (half 0 or 1) of a tile.
template <class Codec>
__device__ __forceinline__ void multiply_half(const WeightArgs& w, uint32_t codes, uint32_t groups,
                                              int half, const uint32_t (&dy)[kBlocks][4],
                                              int matrix, uint32_t lane_table, Sums& sums) {
  const int lane = threadIdx.x % kWarp, g = lane >> 2, P = (lane & 3) + 4 * half;
  uint4 chunk[Codec::kPlanes];
  load_chunk<Codec>(codes, P, g, chunk);
  const int group = w.half_tiles ? g >> 2 : 0;
  const ScalePairs scale = load_scale_pairs<Codec>(w, groups + group * w.scale_stride, P);
  const typename Codec::Zeros zeros =
      load_zeros<Codec>(w, groups + kScaleSpace + group * kTileRows, P);
#pragma unroll
  for (int b = 0; b < 4; ++b) {
    uint32_t r[4];
    Codec::pair(chunk, b, zeros, lane_table, r);
    const Turned low = turn<Codec>(r[0], r[1], scale.pairs[0]);
    const Turned high = turn<Codec>(r[2], r[3], scale.pairs[1]);
    const uint32_t a[4] = {low.first, low.second, high.first, high.second};
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
      multiply_add(sums[b][block], a, dy[block][matrix], dy[block][matrix + 1]);
  }
}

template <class Codec>
__device__ __forceinline__ void multiply_rows(const GradArgs& args, Sums& sums) {
  constexpr int kStage = kStageBytes<Codec>, kRing = kStages<Codec>;
  char* const shared = dynamic_shared();
  const WeightArgs& w = args.weight;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const uint32_t ring = shared_address(shared) + Codec::kTableBytes;
  const uint32_t lane_table = shared_address(shared) + lane * 4;
  const int steps = (w.row_tiles + kRowTiles - 1) / kRowTiles;
  const auto copy = [&](int step) {
    if (step < steps) copy_stage<Codec>(args, step, ring + step % kRing * kStage);
    commit_copies();
  };
  for (int s = 0; s < kRing - 1; ++s) copy(s);
  Codec::fill(shared, w.values);
  for (int step = 0; step < steps; ++step) {
    wait_copies<kRing - 2>();
    __syncthreads();
    copy(step + kRing - 1);
    const uint32_t stage = ring + step % kRing * kStage;
    const int row = warp / kColumnTiles * 8 * kBlocks;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      uint32_t dy[kBlocks][4];
#pragma unroll
      for (int block = 0; block < kBlocks; ++block)
        load_matrices(dy[block],
                      x_address(stage, row + 8 * block + (lane & 7), 4 * i + (lane >> 3)));
      const int index = i * kColumnTiles + warp % kColumnTiles;
      const uint32_t codes = stage + kDyBytes + index * kTileBytes<Codec>;
      const uint32_t groups =
          stage + kDyBytes + kTiles * kTileBytes<Codec> + index * kGroupSpace<Codec>;
#pragma unroll
      for (int half = 0; half < 2; ++half)
        multiply_half<Codec>(w, codes, groups, half, dy, 2 * half, lane_table, sums);
    }
  }
}

__device__ __forceinline__ void set_zero_sums(Sums& sums) {
#pragma unroll
  for (int b = 0; b < 4; ++b)
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int c = 0; c < 4; ++c) sums[b][block][c] = 0;
}

template <class Codec>
__global__ void __launch_bounds__(kThreads, 1) multiply(const __grid_constant__ GradArgs args) {
  Sums sums;
  set_zero_sums(sums);
  multiply_rows<Codec>(args, sums);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int tile = static_cast<int>(blockIdx.y) * kColumnTiles + warp % kColumnTiles;
  if (tile >= args.weight.column_tiles) return;
  const int column = tile * kTileColumns;
  const int m = static_cast<int>(blockIdx.x) * kBlockRows + warp / kColumnTiles * 8 * kBlocks;
#pragma unroll
  for (int b = 0; b < 4; ++b) {
    const int first = column + chunk_column(lane >> 2, 2 * b);
    float update[kBlocks][4] = {};
    if (args.update.rank > 0)
      multiply_update<kBlocks>(args.update, first, first + 1, args.cols, m, args.m, update);
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int row = m + 8 * block + 2 * (lane & 3) + (c & 1), k = first + (c >> 1);
        if (row < args.m && k < args.cols)
          args.dx[static_cast<size_t>(row) * args.cols + k] = sums[b][block][c] + update[block][c];
      }
  }
}

template <class Codec>
cudaError_t launch_multiply(const GradArgs& args, cudaStream_t stream) {
  constexpr int kBytes = Codec::kTableBytes + kStages<Codec> * kStageBytes<Codec>;
  static_assert(kBytes <= 99 * 1024, "what every chip has for a block");
  const dim3 grid(blocks_of(args.m, kBlockRows), blocks_of(args.weight.column_tiles, kColumnTiles));
  return launch(multiply<Codec>, {grid, kThreads, kBytes, stream}, args);
}

}  // namespace

cudaError_t multiply_grad(const GradArgs& args, PackedCode code, cudaStream_t stream) {
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
