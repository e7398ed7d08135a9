#pragma once

#include <algorithm>

#include "base/simd/amx.h"
#include "cpu/packed/kernels.h"

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
        steps_(weight.padded_cols() * sizeof(uint16_t) / kStepBytes) {}

  void run() const {
    const TileScope tiles;
    const size_t first = args_.range.first, end = first + args_.range.count;
    for (size_t step = 0; step < steps_; step += kSteps)
      for (size_t row = first; row < end; row = (row / kRows + 1) * kRows)
        multiply_rows({row / kRowsOfTile, divide_up(std::min(end, (row / kRows + 1) * kRows)), step,
                       std::min(step + kSteps, steps_)});
  }

 private:
  /// Steps and rows of x at a time: 1 MB of it.
  static constexpr size_t kSteps = 64, kRows = 256, kRowsOfTile = 16;
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
    // Meanwhile a part of the next tiles' lines is asked for in every step.
    const size_t left = args_.range.tile + args_.range.tiles - tile - kTiles;
    const size_t part = left < kTiles ? 0 : kTiles * kTileBytes / ((cut.blocks() + 1) / 2);
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
    const Result result = {*this, block, tile, cut.begin == 0, cut.last == steps_};
    result.template load<kBlocks, kTiles>();
    for (size_t step = cut.begin; step < cut.last; ++step) {
      tile_load<6>(w, kStepBytes);
      tile_load<4>(x, kStepBytes);
      tile_multiply_bf16<0, 4, 6>();
      if (kTiles > 1) tile_load<7>(w + next_lines, kStepBytes);
      if (kTiles > 1) tile_multiply_bf16<1, 4, 7>();
      if (kBlocks > 1) tile_load<5>(x + next_x, kStepBytes);
      if (kBlocks > 1) tile_multiply_bf16<2, 5, 6>();
      if (kBlocks > 1 && kTiles > 1) tile_multiply_bf16<3, 5, 7>();
      for (size_t i = 0; i < part; i += 64) __builtin_prefetch(next + i, 0, 2);
      x += kTileBytes, w += kTileBytes, next += part;
    }
    result.template store<kBlocks, kTiles>();
  }

  /// Two blocks of y by two tiles.
  struct Result {
    const PlainProduct& product;
    size_t block, tile;
    bool is_first, is_last;  // run of steps

    template <int kBlocks, int kTiles>
    void load() const {
      load_sum<0>(block, tile);
      if (kTiles > 1) load_sum<1>(block, tile + 1);
      if (kBlocks > 1) load_sum<2>(block + 1, tile);
      if (kBlocks > 1 && kTiles > 1) load_sum<3>(block + 1, tile + 1);
    }
    template <int kBlocks, int kTiles>
    void store() const {
      store_sum<0>(block, tile);
      if (kTiles > 1) store_sum<1>(block, tile + 1);
      if (kBlocks > 1) store_sum<2>(block + 1, tile);
      if (kBlocks > 1 && kTiles > 1) store_sum<3>(block + 1, tile + 1);
    }

   private:
    const PackedProductArgs& args() const { return product.args_; }
    size_t cols(size_t t) const { return std::min<size_t>(16, product.weight_.rows - t * 16); }
    float* y(size_t row, size_t t) const {
      return args().y + (row - args().range.first) * args().ldy + (t - args().range.tile) * 16;
    }
    const float* bias(size_t t) const {
      return is_last && args().bias != nullptr ? args().bias + t * 16 : nullptr;
    }
    /// Rows [first, last) of a block are wanted.
    size_t first(size_t b) const { return std::max(b * kRowsOfTile, args().range.first); }
    size_t last(size_t b) const {
      return std::min((b + 1) * kRowsOfTile, args().range.first + args().range.count);
    }
    /// Whether the registers' rows are y's.
    bool is_whole(size_t b, size_t t) const {
      return last(b) - first(b) == kRowsOfTile && cols(t) == 16;
    }

    template <int kSum>
    void load_sum(size_t b, size_t t) const {
      if (is_first) return tile_zero<kSum>();
      if (is_whole(b, t)) return tile_load<kSum>(y(first(b), t), args().ldy * sizeof(float));
      alignas(64) float sum[kRowsOfTile * 16] = {};
      for (size_t row = first(b); row < last(b); ++row)
        llmkit::store(sum + row % kRowsOfTile * 16, load_partial(y(row, t), cols(t)));
      tile_load<kSum>(sum, kStepBytes);
    }
    template <int kSum>
    void store_sum(size_t b, size_t t) const {
      if (bias(t) == nullptr && is_whole(b, t))
        return tile_store<kSum>(y(first(b), t), args().ldy * sizeof(float));
      alignas(64) float sum[kRowsOfTile * 16];
      tile_store<kSum>(sum, kStepBytes);
      for (size_t row = first(b); row < last(b); ++row) {
        const Vec v = llmkit::load(sum + row % kRowsOfTile * 16);
        const Vec added = bias(t) == nullptr ? v : add(v, load_partial(bias(t), cols(t)));
        store_partial(y(row, t), added, cols(t));
      }
    }
  };

  const PackedWeight& weight_;
  const PackedProductArgs& args_;
  const size_t steps_;
};

}  // namespace
}  // namespace llmkit
