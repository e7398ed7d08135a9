#pragma once

#include "cuda/packed_linear/packed_linear.h"

// The kernels of a product, each in a file of its own.

namespace llmkit::cuda {

/// A weight as the kernels see it.
struct WeightArgs {
  const char* codes;
  const char* scales;
  const char* zeros;  // null: those of the format
  int rows, row_tiles;
  int column_tiles, groups;
  ScaleType scale_type;
  int scale_stride;     // bytes of the scales of a tile's 32 rows for one group
  bool half_tiles;      // groups of 32 columns: two in a tile
  int group_shift;      // log2 of the tiles of a group
  uint16_t values[16];  // of kTable

  /// The group that a tile is in, or begins with.
  LLMKIT_HOST_DEVICE int group_of(int tile) const {
    return half_tiles ? 2 * tile : tile >> group_shift;
  }
  LLMKIT_HOST_DEVICE bool ends_group(int tile) const {
    return group_shift == 0 || (tile & 1) == 1 || tile == column_tiles - 1;
  }
  LLMKIT_HOST_DEVICE int slice(int index) const {
    return slice_begin(index, column_tiles, 1 << group_shift);
  }
};

inline WeightArgs weight_args(const PackedWeight& weight) {
  WeightArgs args = {};
  args.codes = static_cast<const char*>(weight.codes);
  args.scales = static_cast<const char*>(weight.scales);
  args.zeros = reinterpret_cast<const char*>(weight.zeros);
  args.rows = static_cast<int>(weight.rows);
  args.row_tiles = static_cast<int>(weight.row_tiles());
  args.column_tiles = static_cast<int>(weight.column_tiles());
  args.groups = static_cast<int>(weight.groups());
  args.scale_type = weight.scale_type;
  args.scale_stride = kTileRows * (weight.scale_type == ScaleType::kF32 ? 4 : 2);
  args.half_tiles = weight.group == 32;
  args.group_shift = weight.group > kTileColumns ? 1 : 0;
  for (int i = 0; i < 16; ++i) args.values[i] = weight.values[i];
  return args;
}

/// A layer of a product: its weight and what becomes of the sums.
struct LayerArgs {
  WeightArgs weight;
  const float* bias;
  const float* residual;
  Elements y;
  LowRank update;
  Ending ending;
  Activation f;
  bf16* rounded;
};

inline LayerArgs layer_args(const PackedLayer& layer) {
  return {weight_args(*layer.weight),
          layer.bias,
          layer.residual,
          layer.y,
          layer.update,
          layer.ending,
          layer.f,
          layer.rounded};
}

constexpr int kMostLayers = 4;

/// Layers whose codes are alike, and the rows of x that all of them multiply. A gate and the layer
/// after it, which it gates, count as one and are alone.
struct ForwardArgs {
  LayerArgs layers[kMostLayers];
  int count;
  Instructions instructions;
  int m, cols;
  const float* float_x;  // [m, cols]; null where x was bf16
  /// Rounded, with zeros past the columns: for many rows in tiles, else [m, column_tiles * 64] or
  /// null.
  const bf16* x;

  LLMKIT_HOST_DEVICE bool gates() const { return layers[0].ending == Ending::kGates; }
};

/// Rows of x up to which the kernels for few rows are used, and up to which they can round x.
constexpr int kFewRows = 16, kFewestRows = 2;

/// Rows of x in shared memory: 64 values in 128 bytes, the pieces of 16 bytes exchanged so that
/// eight rows of one column do not share banks.
LLMKIT_HOST_DEVICE uint32_t x_address(uint32_t x, int row, int piece) {
  return x + row * 128 + ((piece ^ (row & 7)) << 4);
}

/// Rows of x or dy as the kernels for many rows read them: tiles of 128 rows x 64 columns, those of
/// the same rows one after the other. A tile lies as it does in shared memory: a row is 128 bytes,
/// its pieces of 16 bytes exchanged by the row's last three bits (x_address), so that any rows of a
/// tile from a multiple of 8 on are one run of bytes.
constexpr int kXTileRows = 128;
/// Where 8 values are among all pieces of 16 bytes.
LLMKIT_HOST_DEVICE size_t piece_of_tiles(size_t row, size_t piece, size_t column_tiles) {
  const size_t tile = row / kXTileRows * column_tiles + piece / 8;
  return (tile * kXTileRows + row % kXTileRows) * 8 + (piece % 8 ^ row % 8);
}
/// The first of 64 or more rows of a tile of columns.
LLMKIT_HOST_DEVICE const bf16* rows_of_tile(const bf16* x, int row, int tile, int column_tiles) {
  return x + piece_of_tiles(row, size_t{8} * tile, column_tiles) * 8;
}
/// Rows that are there: zeros follow the last one.
LLMKIT_HOST_DEVICE int whole_rows(int m) { return (m + 63) / 64 * 64; }
inline size_t bytes_of_tiles(size_t m, size_t column_tiles) {
  return (m + kXTileRows - 1) / kXTileRows * kXTileRows * column_tiles * kTileColumns *
         sizeof(bf16);
}

/// Threads of the kernels for many rows that make products, and tiles of the weight of a block.
constexpr int kManyThreads = 256, kBlockTiles = 4;
/// Where the sum of a row of the block's tiles and a row of x lies in shared memory, when thread t
/// of the block has put its sums there, sum i at [i * kManyThreads + t].
template <int kBlocks>
LLMKIT_HOST_DEVICE int place_of_sum(int row, int m) {
  const ChunkIndex n = chunk_of_row(row % kTileRows);
  const int warp = m / (8 * kBlocks) * kBlockTiles + row / kTileRows, block = m / 8 % kBlocks;
  const int lane = 4 * n.chunk + m % 8 / 2, b = n.element >> 1, c = 2 * (n.element & 1) + (m & 1);
  return ((b * kBlocks + block) * 4 + c) * kManyThreads + warp * kWarp + lane;
}

/// y = x [rows, cols] rounded (of bf16: as it is), with zeros past the columns: [rows, padded],
/// padded being a multiple of 64, or in tiles. Sets some counters to 0 as well.
struct RoundArgs {
  ConstElements x;
  size_t rows, cols, padded;
  bf16* y;
  bool in_tiles;
  unsigned* counters;
  size_t counter_count;
};
cudaError_t round_rows(const RoundArgs& args, cudaStream_t stream);

/// Whether multiply_few can do without the rounded x.
bool takes_floats(const ForwardArgs& args, PackedCode code);
cudaError_t multiply_few(const ForwardArgs& args, PackedCode code, cudaStream_t stream);

/// Where the blocks that make different slices of the same results leave their sums, when there are
/// few results for the chip.
struct SliceParts {
  int parts = 1;       // blocks for the same results: 1, 2, 4 or 8
  float* sums;         // part_sums_bytes(args) bytes
  unsigned* counters;  // one per tile of the results, zero
};
/// Tiles of the results that a block makes, of all layers.
size_t result_tiles(const ForwardArgs& args);
int parts_for(const ForwardArgs& args);
size_t part_sums_bytes(const ForwardArgs& args);
cudaError_t multiply_many(const ForwardArgs& args, const SliceParts& parts, PackedCode code,
                          cudaStream_t stream);

/// The same as multiply_many by products of warpgroups, without parts; whether there are
/// results enough for it to be faster.
cudaError_t multiply_many_by_groups(const ForwardArgs& args, PackedCode code, cudaStream_t stream);
bool prefers_groups(const ForwardArgs& args);

struct GradArgs {
  WeightArgs weight;
  int m, cols;
  const bf16* dy;  // in tiles, zeros past the rows of the weight
  float* dx;       // [m, cols]
  LowRank update;

  /// Tiles of 64 rows of the weight, the columns of dy.
  LLMKIT_HOST_DEVICE int steps() const { return (weight.row_tiles + 1) / 2; }
};
cudaError_t multiply_grad(const GradArgs& args, PackedCode code, cudaStream_t stream);
/// The same by products of warpgroups.
cudaError_t multiply_grad_by_groups(const GradArgs& args, PackedCode code, cudaStream_t stream);

/// The sum with a layer's bias and residual.
__device__ __forceinline__ float finish(const LayerArgs& layer, float sum, int row, size_t index) {
  if (layer.bias != nullptr) sum += layer.bias[row];
  return layer.residual == nullptr ? sum : layer.residual[index] + sum;
}

}  // namespace llmkit::cuda
