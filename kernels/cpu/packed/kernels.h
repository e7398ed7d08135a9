#pragma once

#include "cpu/packed/packed.h"

namespace llmkit {

/// Rows of x to bring into the form of PreparedRows, and where to write it: each pointer is that of
/// the first row. Those that the compute type does not use are null.
struct PrepareArgs {
  size_t m;
  const float* x;
  size_t ldx;
  void* values;
  float* scales;
  int32_t* starts;
  float* totals;
  /// x where it is bf16 and the kernels take it so; the other x is null then.
  const uint16_t* halves = nullptr;
};

/// As the arguments of packed_product; and what is added to the results then, whether y is so large
/// that it should not go through the caches, and where it goes if it is bf16 (y is null then). Only
/// kernels with cached_rows look at the last three.
struct PackedProductArgs {
  PreparedRows x;
  PackedRange range;
  const float* bias;
  float* y;
  size_t ldy;
  const LowRank* update = nullptr;
  bool past_caches = false;
  uint16_t* halves = nullptr;
};

/// How LoRA's update is added in tiles.
struct LowRankKernels {
  size_t row_block;  // rows of low that are prepared together
  /// Rows of low's parts into the form of LowRankParts, in bf16.
  void (*prepare)(const PackedWeight& high, const PrepareArgs& args);
  void (*add)(const LowRankParts& parts, const LowRankBlock& block);
};

/// One compute type on one instruction set, on one thread. `few` and `many` give the same bits and
/// both take any range: `few` reads the packed bytes once for every few rows, `many` first unpacks
/// tiles into the second-level cache and takes all rows from there.
struct PackedKernels {
  void (*prepare)(const PackedWeight& weight, const PrepareArgs& args);
  void (*few)(const PackedWeight& weight, const PackedProductArgs& args);
  void (*many)(const PackedWeight& weight, const PackedProductArgs& args);
  size_t few_rows;     // the most rows for which `few` is the faster
  size_t block_tiles;  // tiles that `many` takes at a time: ranges are best multiples of it
  size_t value_bytes;  // of an element of PreparedRows::values
  /// Rows of x that are prepared together and lie as the kernels want them.
  size_t row_block = 1;
  /// Rows of x that `many` keeps in the second-level cache while all tiles of its range pass by
  /// them, kCachedBytes of each at a time; 0 where it takes the tiles one after the other.
  size_t cached_rows = 0;
  /// Whether a product of m rows with the weight is for these kernels; null: every product.
  bool (*takes)(const PackedWeight& weight, size_t m) = nullptr;
  /// Whether `prepare` reads rows of bf16.
  bool takes_halves = false;
  /// Whether `prepare` puts columns into the order of the lines of 4-bit codes.
  bool code_order = false;
  /// Null: updates are added in float32.
  const LowRankKernels* low_rank = nullptr;
  /// Whether few and many take a weight of Compute::kBf16Dequantized as it is.
  bool dequantizes = false;
  /// A group of a prepared row of x has a multiple of these columns, zeros behind its own.
  size_t step_cols = 1;
  /// Whether rows of bf16, with zeros up to padded_cols(), are prepared as they are: those for a
  /// weight of 16-bit codes.
  bool plain_halves = false;
  /// Tiles that `few` takes at a time.
  size_t few_tiles = 1;

  size_t padded_cols(const PackedWeight& weight) const {
    return weight.groups * ((weight.group_stride + step_cols - 1) / step_cols * step_cols);
  }
};

/// Rows of x in tiles, and bytes of each, that stay in the second-level cache.
constexpr size_t kCachedRows = 256, kCachedBytes = 4096;

#define PACKED_KERNELS(compute, isa, name) extern const PackedKernels name;
#include "cpu/packed/kernels.inc"
#undef PACKED_KERNELS

/// The best kernels of this machine for a product of m rows with the weight. A row's results have
/// the same bits for every m.
const PackedKernels& packed_kernels(const PackedWeight& weight, size_t m);

}  // namespace llmkit
