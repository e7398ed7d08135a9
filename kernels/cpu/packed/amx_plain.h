#pragma once

#include <algorithm>
#include <type_traits>

#include "base/scratch.h"
#include "base/simd/amx.h"
#include "cpu/packed/amx_results.h"
#include "cpu/packed_dequantized/packed_dequantized.h"

// Products with 16-bit codes in tile registers: include base/simd/avx512.h first.
//
// x is prepared in blocks of 16 rows, values [m / 16][step][16][64 bytes]; the packed lines of a
// tile are [step][16][64 bytes], as the instruction wants them. There are no groups, so the sums of
// two blocks by two tiles stay in their registers for a long run of steps. The rows of x at work
// stay in the second-level cache while all tiles of the range pass by them. The lines are those of
// the weight, or made of its codes and scales shortly before (cpu/packed_dequantized).

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// The lines of one or two tiles in some steps, those of the second `next` bytes on.
struct PlainLines {
  const uint8_t* lines;
  size_t next;
};

/// Those of a weight of 16-bit codes.
class StoredLines {
 public:
  explicit StoredLines(const PackedWeight& weight) : weight_(weight) {}

  size_t stride() const { return weight_.padded_cols(); }
  PlainLines get(size_t tile, size_t, size_t step, size_t) const {
    return {weight_.tile(tile) + step * kTileBytes, weight_.tile_bytes};
  }
  /// What is asked for while other tiles are multiplied.
  PlainLines ahead(size_t tile, size_t step) const { return get(tile, 2, step, step); }

 private:
  const PackedWeight& weight_;
};

/// Those that codes and scales are made to, in memory of the thread.
class DequantizedLines {
 public:
  explicit DequantizedLines(const PackedWeight& weight)
      : weight_(weight), stride_(dequantized_form(weight).padded_cols()) {}

  size_t stride() const { return stride_; }
  PlainLines get(size_t tile, size_t count, size_t step, size_t last) const {
    const size_t cols = (last - step) * kStepCols, next = (last - step) * kTileBytes;
    auto* const out =
        reinterpret_cast<uint8_t*>(scratch(Scratch::kDequantized, count * next / sizeof(float)));
    dequantize_kernels().tiles(weight_, {tile, count, step * kStepCols, cols, out, next});
    return {out, next};
  }
  PlainLines ahead(size_t, size_t) const { return {nullptr, 0}; }

 private:
  static constexpr size_t kStepCols = kStepBytes / sizeof(uint16_t);
  const PackedWeight& weight_;
  const size_t stride_;
};

template <typename Lines>
class PlainProduct {
 public:
  PlainProduct(const PackedWeight& weight, const PackedProductArgs& args)
      : source_(weight),
        args_(args),
        steps_(source_.stride() * sizeof(uint16_t) / kStepBytes),
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
    const PlainLines lines = source_.get(tile, kTiles, cut.begin, cut.last);
    // Meanwhile a part of the next tiles' lines is asked for in every step, of each as much.
    const size_t left = args_.range.tile + args_.range.tiles - tile - kTiles;
    PlainLines ahead = left < kTiles ? PlainLines{} : source_.ahead(tile + kTiles, cut.begin);
    const size_t part = ahead.lines == nullptr ? 0 : kTileBytes / ((cut.blocks() + 1) / 2);
    for (size_t block = cut.block; block < cut.end; block += 2) {
      if (cut.end - block > 1)
        multiply<2, kTiles>(cut, block, tile, lines, ahead, part);
      else
        multiply<1, kTiles>(cut, block, tile, lines, ahead, part);
      ahead.lines += part * cut.steps();
    }
  }

  /// Block b by tile t of a pair has its sum in tile register 2 b + t.
  template <int kBlocks, int kTiles>
  void multiply(const Cut& cut, size_t block, size_t tile, PlainLines lines, PlainLines ahead,
                size_t part) const {
    const size_t next_x = steps_ * kTileBytes;
    const auto* x =
        static_cast<const uint8_t*>(args_.x.values) + block * next_x + cut.begin * kTileBytes;
    const uint8_t* w = lines.lines;
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
      if (kTiles > 1) tile_load<7>(w + lines.next, kStepBytes);
      if (kTiles > 1) tile_multiply_bf16<1, 4, 7>();
      if (kBlocks > 1) tile_load<5>(x + next_x, kStepBytes);
      if (kBlocks > 1) tile_multiply_bf16<2, 5, 6>();
      if (kBlocks > 1 && kTiles > 1) tile_multiply_bf16<3, 5, 7>();
      for (int t = 0; t < kTiles; ++t)
        for (size_t i = 0; i < part; i += 64)
          __builtin_prefetch(ahead.lines + t * ahead.next + i, 0, 2);
      x += kTileBytes, w += kTileBytes, ahead.lines += part;
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

  const Lines source_;
  const PackedProductArgs& args_;
  const size_t steps_;
  const Results results_;
};

}  // namespace
}  // namespace llmkit
