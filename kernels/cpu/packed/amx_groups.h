#pragma once

#include <type_traits>

#include "base/simd/amx.h"
#include "cpu/packed/kernels.h"

// Sums of groups in tile registers, scaled and added up: include base/simd/avx512.h first.
//
// Every group has a sum of its own, and a sum leaves its tile register only by way of memory, where
// vectors scale it and add it to the results. Vectors multiply at half their speed while tiles are
// at work, so the two take turns: tiles make the sums of a few groups, then vectors add all of
// them, with the results in registers meanwhile. Tiles begin the first group of the next turn
// before that, so that neither waits for the other where they meet.

namespace llmkit {
namespace {  // a copy per file: built with its flags

constexpr size_t kBlockRows = 16, kSumFloats = 256;
/// Groups of a turn: the sums of 2 x 2 products fill a sixth of the first-level cache. Measured.
constexpr size_t kTurnGroups = 2;
/// Rows of a block whose results are in registers together.
constexpr size_t kHalfRows = kBlockRows / 2;

/// Tiles of a panel of the weight and steps of them, which then lie in the first-level cache. x is
/// read again for every panel, and results for every run of steps: where the rows of a step have
/// half the bytes, fewer tiles by more steps are the faster. Measured.
constexpr size_t panel_tiles(size_t row_bytes) { return row_bytes == 32 ? 2 : 4; }
constexpr size_t panel_steps(size_t row_bytes) { return row_bytes == 32 ? 28 : 8; }

/// How groups lie in x and in lines: in steps of 16 rows of x or 16 lines of the weight, each row
/// of `row_bytes`, 64 at most.
struct Steps {
  size_t of_group;
  size_t groups;  // of a row
  size_t row_bytes;
  size_t bytes() const { return kBlockRows * row_bytes; }
  size_t group_bytes() const { return of_group * bytes(); }
};

/// `count` groups of up to two blocks of rows and of two tiles, and what their sums are scaled by:
/// the second of each lies next_... on.
struct GroupRun {
  size_t count;
  const uint8_t *x, *lines;
  size_t next_x, next_lines;
  const float *scales, *corrections;  // [group][16] of a tile; corrections only where there are
  const float* factors;               // [group][16] of a block's rows; null where there are none
  size_t next_scales, next_factors;
  float* results;  // a row for 16 of each tile of the panel
  size_t rows;     // of the first block; a second one has 16 less
};

/// Product p is that of block p / kTiles and tile p % kTiles: its sums are made in tile register p.
template <typename Kind, int kBlocks, int kTiles>
class GroupProducts {
 public:
  GroupProducts(const GroupRun& run, const Steps& steps) : run_(run), steps_(steps) {}

  void run() const {
    alignas(64) Sums sums;
    Place place = {run_.x, run_.lines, run_.next_x, run_.next_lines};
    multiply_group<false>(place, sums[0]);
    size_t group = 0;
    for (; group + kTurnGroups <= run_.count; group += kTurnGroups)
      turn<kTurnGroups>(group, place, sums);
    for (; group < run_.count; ++group) turn<1>(group, place, sums);
  }

 private:
  static constexpr int kProducts = kBlocks * kTiles, kHalves = 2 * kBlocks;
  static constexpr size_t kResultCols = panel_tiles(Kind::kRowBytes) * 16;
  /// Of a group, as tiles leave them, and of a turn.
  using Group = float[kProducts][kSumFloats];
  using Sums = Group[kTurnGroups];
  template <int kValue>
  using Number = std::integral_constant<int, kValue>;

  template <typename Body>
  static void each_product(Body body) {
    body(Number<0>());
    if constexpr (kProducts > 1) body(Number<1>());
    if constexpr (kProducts > 2) body(Number<2>()), body(Number<3>());
  }

  /// Where a group is in the operands. By value: the compiler then keeps it in registers, although
  /// the instructions of tiles write memory.
  struct Place {
    const uint8_t *x, *lines;
    size_t next_x, next_lines;
    void advance() {
      x += kBlockRows * Kind::kRowBytes;
      lines += kBlockRows * Kind::kRowBytes;
    }
  };

  /// The sums of groups [first, first + kCount), the first of which is multiplied already, and the
  /// product of the group after them.
  template <size_t kCount>
  void turn(size_t first, Place& place, Sums& sums) const {
#pragma GCC unroll 2
    for (size_t i = 0; i + 1 < kCount; ++i) multiply_group<true>(place, sums[i]);
    if (first + kCount < run_.count)
      multiply_group<true>(place, sums[kCount - 1]);
    else
      each_product([&](auto p) { store_sum<p>(sums[kCount - 1]); });
#pragma GCC unroll 4
    for (size_t half = 0; half < kHalves; ++half) add_sums<kCount>(first, half, sums);
  }
  /// A group, after the sums of the one before, which take until then, were stored.
  template <bool kAfterGroup>
  void multiply_group(Place& place, Group& before) const {
    each_product([&](auto p) {
      load_operands<p>(place);
      if constexpr (kAfterGroup) store_sum<p>(before);
      tile_zero<p>();
      multiply<p>();
    });
    other_steps(place);
  }

  void other_steps(Place& place) const {
    place.advance();
    for (size_t step = 1; step < steps_.of_group; ++step, place.advance())
      each_product([&](auto p) {
        load_operands<p>(place);
        multiply<p>();
      });
  }

  /// Those that no product before has loaded.
  template <int kProduct>
  static void load_operands(const Place& place) {
    constexpr int kBlock = kProduct / kTiles, kTile = kProduct % kTiles;
    if constexpr (kTile == 0)
      tile_load<4 + kBlock>(place.x + kBlock * place.next_x, Kind::kRowBytes);
    if constexpr (kBlock == 0) tile_load<6 + kTile>(place.lines + kTile * place.next_lines, 64);
  }
  template <int kProduct>
  static void multiply() {
    Kind::template multiply<kProduct, 4 + kProduct / kTiles, 6 + kProduct % kTiles>();
  }
  template <int kProduct>
  static void store_sum(Group& sums) {
    tile_store<kProduct>(sums[kProduct], 64);
  }

  /// Adds the sums of kCount groups, ascending, to the results of half a block.
  template <size_t kCount>
  void add_sums(size_t first, size_t half, const Group* sums) const {
    const size_t block = half / 2, row = half % 2 * kHalfRows;
    if (block * kBlockRows + row >= run_.rows) return;
    float* const results = run_.results + half * kHalfRows * kResultCols;
    Vec acc[kHalfRows][kTiles];
#pragma GCC unroll 8
    for (size_t r = 0; r < kHalfRows; ++r)
#pragma GCC unroll 2
      for (size_t t = 0; t < kTiles; ++t) acc[r][t] = load(results + r * kResultCols + t * 16);
#pragma GCC unroll 4
    for (size_t i = 0; i < kCount; ++i) add_group(first + i, block, row, sums[i], acc);
#pragma GCC unroll 8
    for (size_t r = 0; r < kHalfRows; ++r)
#pragma GCC unroll 2
      for (size_t t = 0; t < kTiles; ++t) store(results + r * kResultCols + t * 16, acc[r][t]);
  }
  void add_group(size_t group, size_t block, size_t row, const Group& sums,
                 Vec (&acc)[kHalfRows][kTiles]) const {
    const float* const factors = run_.factors + block * run_.next_factors + group * 16 + row;
    const float* const scales = run_.scales + group * 16;
    Vec scale[kTiles];
#pragma GCC unroll 2
    for (size_t t = 0; t < kTiles; ++t) scale[t] = load(scales + t * run_.next_scales);
#pragma GCC unroll 8
    for (size_t r = 0; r < kHalfRows; ++r) {
      const Vec factor = Kind::kHasFactors ? splat(factors[r]) : zero();
#pragma GCC unroll 2
      for (size_t t = 0; t < kTiles; ++t)
        acc[r][t] = Kind::add_scaled(load(sums[block * kTiles + t] + (row + r) * 16), scale[t],
                                     factor, acc[r][t]);
    }
    if (!Kind::kCorrects || run_.corrections == nullptr) return;
    const float* const corrections = run_.corrections + group * 16;
#pragma GCC unroll 8
    for (size_t r = 0; r < kHalfRows; ++r)
#pragma GCC unroll 2
      for (size_t t = 0; t < kTiles; ++t)
        acc[r][t] = fma(load(corrections + t * run_.next_scales), splat(factors[r]), acc[r][t]);
  }

  const GroupRun& run_;
  const Steps& steps_;
};

}  // namespace
}  // namespace llmkit
