#pragma once

#include <type_traits>

#include "base/simd/amx.h"
#include "cpu/packed/kernels.h"

// Sums of groups in tile registers, scaled and added up: include base/simd/avx512.h first.
//
// Every group has a sum of its own, and a sum leaves its tile register only by way of memory, where
// vectors scale it and add it to the results. So that neither waits for the other, a sum is stored
// three products after its own, and the sums of the group before are added between the products.

namespace llmkit {
namespace {  // a copy per file: built with its flags

constexpr size_t kBlockRows = 16, kSumFloats = 256, kResultCols = 64;

/// How groups lie in x and in lines: in steps of kTileBytes.
struct Steps {
  size_t of_group;
  size_t groups;  // of a row
  size_t group_bytes() const { return of_group * kTileBytes; }
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
  float* results;  // kResultCols of each row, 16 of each tile
  size_t rows;     // of the first block; a second one has 16 less
};

/// Adds the sums of a group, scaled, to the results of the first kRows rows.
template <typename Kind, int kRows>
inline void add_sums(const float* sums, const float* scales, const float* corrections,
                     const float* factors, float* results) {
  Vec acc[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) acc[r] = load(results + r * kResultCols);
  const Vec scale = load(scales);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
    acc[r] = Kind::add_scaled(load(sums + r * 16), scale, factors, r, acc[r]);
  if (corrections != nullptr) {
    const Vec correction = load(corrections);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) acc[r] = fma(correction, splat(factors[r]), acc[r]);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) store(results + r * kResultCols, acc[r]);
}

/// Product p is that of block p / kTiles and tile p % kTiles: its sum is in tile register p, then
/// at sums + p * kSumFloats.
template <typename Kind, int kBlocks, int kTiles>
class GroupProducts {
 public:
  GroupProducts(const GroupRun& run, const Steps& steps) : at_(run), steps_(steps) {}

  void run() {
    each_product([&](auto p) { first_step<p, false>(0); });
    finish_group();
    for (size_t group = 1; group < at_.count; ++group) {
      each_product([&](auto p) { first_step<p, true>(group); });
      finish_group();
    }
    each_product([&](auto p) {
      if constexpr (p > 0) tile_store<p>(sums_ + p * kSumFloats, 64);
      add<p>(at_.count - 1);
    });
  }

 private:
  static constexpr int kProducts = kBlocks * kTiles;
  template <int kValue>
  using Number = std::integral_constant<int, kValue>;

  template <typename Body>
  static void each_product(Body body) {
    body(Number<0>());
    if constexpr (kProducts > 1) body(Number<1>());
    if constexpr (kProducts > 2) body(Number<2>()), body(Number<3>());
  }

  /// Starts a product of a group, after the sum of the next product in the group before was stored.
  template <int kProduct, bool kAfterGroup>
  void first_step(size_t group) {
    constexpr int kNext = kProduct + 1;
    load_operands<kProduct>();
    if constexpr (kAfterGroup && kNext < kProducts)
      tile_store<kNext>(sums_ + kNext * kSumFloats, 64);
    tile_zero<kProduct>();
    multiply<kProduct>();
    if constexpr (kAfterGroup) add<kProduct>(group - 1);
  }
  /// The other steps, and the sum that is ready first.
  void finish_group() {
    advance();
    for (size_t step = 1; step < steps_.of_group; ++step, advance())
      each_product([&](auto p) {
        load_operands<p>();
        multiply<p>();
      });
    tile_store<0>(sums_, 64);
  }

  /// Those that no product before has loaded.
  template <int kProduct>
  void load_operands() const {
    constexpr int kBlock = kProduct / kTiles, kTile = kProduct % kTiles;
    if constexpr (kTile == 0) tile_load<4 + kBlock>(at_.x + kBlock * at_.next_x, 64);
    if constexpr (kBlock == 0) tile_load<6 + kTile>(at_.lines + kTile * at_.next_lines, 64);
  }
  template <int kProduct>
  void multiply() const {
    Kind::template multiply<kProduct, 4 + kProduct / kTiles, 6 + kProduct % kTiles>();
  }
  void advance() {
    at_.x += kTileBytes;
    at_.lines += kTileBytes;
  }

  template <int kProduct>
  void add(size_t group) const {
    const size_t rows = at_.rows - kProduct / kTiles * kBlockRows;
    if (rows > 8)
      add_rows<kProduct, 16>(group);
    else if (rows > 4)
      add_rows<kProduct, 8>(group);
    else if (rows > 1)
      add_rows<kProduct, 4>(group);
    else
      add_rows<kProduct, 1>(group);
  }
  template <int kProduct, int kRows>
  void add_rows(size_t group) const {
    constexpr size_t kBlock = kProduct / kTiles, kTile = kProduct % kTiles;
    const size_t of_tile = kTile * at_.next_scales + group * 16;
    add_sums<Kind, kRows>(
        sums_ + kProduct * kSumFloats, at_.scales + of_tile,
        at_.corrections == nullptr ? nullptr : at_.corrections + of_tile,
        at_.factors == nullptr ? nullptr : at_.factors + kBlock * at_.next_factors + group * 16,
        at_.results + kBlock * kBlockRows * kResultCols + kTile * 16);
  }

  GroupRun at_;
  const Steps steps_;
  alignas(64) float sums_[kProducts * kSumFloats];
};

}  // namespace
}  // namespace llmkit
