#pragma once

#include <algorithm>
#include <type_traits>

#include "base/simd/amx.h"
#include "cpu/packed/amx_results.h"

// Products with 16-bit codes in tile registers: include base/simd/avx512.h first.
//
// x is prepared in blocks of 16 rows, values [m / 16][step][16][64 bytes]; the packed lines of a
// tile are [step][16][64 bytes], as the instruction wants them. There are no groups, so the sums of
// two blocks by two tiles stay in their registers for a long run of steps. The rows of x at work
// stay in the second-level cache while all tiles of the range pass by them.

namespace llmkit {
namespace {  // a copy per file: built with its flags

class PlainProduct {
 public:
  PlainProduct(const PackedWeight& weight, const PackedProductArgs& args)
      : weight_(weight),
        args_(args),
        steps_(weight.padded_cols() * sizeof(uint16_t) / kStepBytes),
        results_(weight, args) {}

  void run() const {
    const TileScope tiles;
    const size_t first = args_.range.first, end = first + args_.range.count;
    // Sums that are rounded once are not put aside: then fewer, whole rows of x stay in the cache.
    const bool whole = args_.halves != nullptr && steps_ > kSteps;
    const size_t steps = whole ? steps_ : kSteps, rows = whole ? rows_at_once(steps_) : kRows;
    for (size_t step = 0; step < steps_; step += steps)
      for (size_t row = first; row < end; row = (row / rows + 1) * rows)
        multiply_rows({row / kRowsOfTile, divide_up(std::min(end, (row / rows + 1) * rows)), step,
                       std::min(step + steps, steps_)});
  }

 private:
  static constexpr size_t kSteps = kCachedBytes / kStepBytes, kRows = kCachedRows;
  static constexpr size_t kRowsOfTile = 16, kSumCols = 32, kSumBytes = kSumCols * sizeof(float);
  /// Rows of x in the second-level cache, of so many steps each.
  static size_t rows_at_once(size_t steps) {
    constexpr size_t kPair = 2 * kRowsOfTile;
    return std::max(kRows * kSteps / steps / kPair * kPair, kPair);
  }
  static size_t divide_up(size_t rows) { return (rows + kRowsOfTile - 1) / kRowsOfTile; }

  /// Blocks [block, end) of rows, steps [begin, last).
  struct Cut {
    size_t block, end, begin, last;
    size_t blocks() const { return end - block; }
    size_t steps() const { return last - begin; }
  };

  void multiply_rows(const Cut& cut) const {
    const size_t end = args_.range.tile + args_.range.tiles;
    for (size_t tile = args_.range.tile; tile < end; tile += 2)
      end - tile > 1 ? multiply_tiles<2>(cut, tile) : multiply_tiles<1>(cut, tile);
  }
  template <int kTiles>
  void multiply_tiles(const Cut& cut, size_t tile) const {
    // Meanwhile a part of the next tiles' lines is asked for in every step, of each as much.
    const size_t left = args_.range.tile + args_.range.tiles - tile - kTiles;
    const size_t part = left < kTiles ? 0 : kTileBytes / ((cut.blocks() + 1) / 2);
    const uint8_t* next = part == 0 ? nullptr : lines(tile + kTiles, cut.begin);
    for (size_t block = cut.block; block < cut.end; block += 2) {
      if (cut.end - block > 1)
        multiply<2, kTiles>(cut, block, tile, next, part);
      else
        multiply<1, kTiles>(cut, block, tile, next, part);
      next += part * cut.steps();
    }
  }

  const uint8_t* lines(size_t tile, size_t step) const {
    return weight_.tile(tile) + step * kTileBytes;
  }

  /// Block b by tile t of a pair has its sum in tile register 2 b + t.
  template <int kBlocks, int kTiles>
  void multiply(const Cut& cut, size_t block, size_t tile, const uint8_t* next, size_t part) const {
    const size_t next_x = steps_ * kTileBytes, next_lines = weight_.tile_bytes;
    const auto* x =
        static_cast<const uint8_t*>(args_.x.values) + block * next_x + cut.begin * kTileBytes;
    const uint8_t* w = lines(tile, cut.begin);
    alignas(64) float sums[2 * kRowsOfTile * kSumCols];
    const ResultBlock result = {sums,      kSumCols,   block * kRowsOfTile, kBlocks * kRowsOfTile,
                                tile * 16, kTiles * 16};
    if (cut.begin == 0) {
      each_sum<kBlocks, kTiles>(sums, [](auto sum, float*) { tile_zero<sum>(); });
    } else {
      results_.load(result);
      each_sum<kBlocks, kTiles>(sums, [](auto sum, float* p) { tile_load<sum>(p, kSumBytes); });
    }
    for (size_t step = cut.begin; step < cut.last; ++step) {
      tile_load<6>(w, kStepBytes);
      tile_load<4>(x, kStepBytes);
      tile_multiply_bf16<0, 4, 6>();
      if (kTiles > 1) tile_load<7>(w + next_lines, kStepBytes);
      if (kTiles > 1) tile_multiply_bf16<1, 4, 7>();
      if (kBlocks > 1) tile_load<5>(x + next_x, kStepBytes);
      if (kBlocks > 1) tile_multiply_bf16<2, 5, 6>();
      if (kBlocks > 1 && kTiles > 1) tile_multiply_bf16<3, 5, 7>();
      for (int t = 0; t < kTiles; ++t)
        for (size_t i = 0; i < part; i += 64) __builtin_prefetch(next + t * next_lines + i, 0, 2);
      x += kTileBytes, w += kTileBytes, next += part;
    }
    each_sum<kBlocks, kTiles>(sums, [](auto sum, float* p) { tile_store<sum>(p, kSumBytes); });
    results_.store(result, cut.last == steps_);
  }

  /// The tile registers of the sums, and where they are in memory.
  template <int kBlocks, int kTiles, typename Body>
  static void each_sum(float* sums, Body body) {
    body(std::integral_constant<int, 0>(), sums);
    if constexpr (kTiles > 1) body(std::integral_constant<int, 1>(), sums + 16);
    sums += kRowsOfTile * kSumCols;
    if constexpr (kBlocks > 1) body(std::integral_constant<int, 2>(), sums);
    if constexpr (kBlocks > 1 && kTiles > 1) body(std::integral_constant<int, 3>(), sums + 16);
  }

  const PackedWeight& weight_;
  const PackedProductArgs& args_;
  const size_t steps_;
  const Results results_;
};

}  // namespace
}  // namespace llmkit
