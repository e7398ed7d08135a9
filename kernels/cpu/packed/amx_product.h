#pragma once

#include <algorithm>
#include <cstring>

#include "base/scratch.h"
#include "base/simd/amx.h"
#include "cpu/packed/kernels.h"

// Products in tile registers, for int8 and bf16: include base/simd/avx512.h first.
//
// x is prepared in blocks of 16 rows: values [m / 16][step][16][bytes of a step], factors
// [m / 16][group][16]. A step is what one multiplication of tiles takes, 64 bytes of a row (32
// where a group has no more). The weight is unpacked to lines [step][bytes / 4][16][4 bytes] of a
// tile.
//
// Every group has a sum of its own, and a sum leaves its tile register only by way of memory. Two
// blocks of rows by two tiles are taken at once, a few groups of them in turn; then their sums are
// scaled and added to the results, which lie in memory of the thread. Weights of 16-bit codes have
// no groups: a step is taken for a group, its packed lines are those of a panel, and the sums stay
// in their tiles from step to step.

namespace llmkit {
namespace {  // a copy per file: built with its flags

constexpr size_t kBlockRows = 16, kSumFloats = 256;
/// Groups whose sums are made before they are added.
constexpr size_t kBatch = 2;
/// Bytes of a row of x in a panel (of 16-bit codes) and in what stays in the second-level cache,
/// for so many rows.
constexpr size_t kChunkBytes = 512, kPlainBytes = 1024, kPieceBytes = 4096, kRowsAtOnce = 256;
/// Tiles of a panel.
constexpr size_t kPanelTiles = 4;

/// How groups lie in x and in lines.
struct Steps {
  size_t row_bytes;  // of a row of x in a step
  size_t of_group;
  size_t groups;     // of a row
  size_t tile_bytes() const { return kBlockRows * row_bytes; }
  size_t group_bytes() const { return of_group * tile_bytes(); }
};
inline Steps steps_of(const PackedWeight& weight, size_t value_bytes) {
  const size_t bytes = weight.group_stride * value_bytes;
  if (weight.code == PackedCode::kSixteenBit) return {64, 1, weight.groups * bytes / 64};
  const size_t row_bytes = bytes % 64 == 0 ? 64 : 32;
  return {row_bytes, bytes / row_bytes, weight.groups};
}

/// A group of up to two blocks of rows and of two tiles: the second of each lies so far on.
struct GroupPair {
  const uint8_t *x, *lines;
  size_t next_x, next_lines;
};

/// Block b by tile t of a pair has its sum in tile register 2 b + t, and at sums + (2 b + t) *
/// kSumFloats, or elsewhere when `next` says how far on those of the next block are.
template <int kBlocks, int kTiles>
inline void clear_sums() {
  tile_zero<0>();
  if (kTiles > 1) tile_zero<1>();
  if (kBlocks > 1) tile_zero<2>();
  if (kBlocks > 1 && kTiles > 1) tile_zero<3>();
}
template <int kBlocks, int kTiles>
inline void load_sums(const float* sums, size_t next) {
  tile_load<0>(sums, 64);
  if (kTiles > 1) tile_load<1>(sums + kSumFloats, 64);
  if (kBlocks > 1) tile_load<2>(sums + next, 64);
  if (kBlocks > 1 && kTiles > 1) tile_load<3>(sums + next + kSumFloats, 64);
}
template <int kBlocks, int kTiles>
inline void store_sums(float* sums, size_t next = 2 * kSumFloats) {
  tile_store<0>(sums, 64);
  if (kTiles > 1) tile_store<1>(sums + kSumFloats, 64);
  if (kBlocks > 1) tile_store<2>(sums + next, 64);
  if (kBlocks > 1 && kTiles > 1) tile_store<3>(sums + next + kSumFloats, 64);
}

/// Adds `count` steps to the sums.
template <typename Kind, int kBlocks, int kTiles>
inline void multiply_steps(GroupPair at, Steps steps, size_t count) {
  for (size_t s = 0; s < count; ++s) {
    tile_load<4>(at.x, steps.row_bytes);
    tile_load<6>(at.lines, 64);
    if (kBlocks > 1) tile_load<5>(at.x + at.next_x, steps.row_bytes);
    if (kTiles > 1) tile_load<7>(at.lines + at.next_lines, 64);
    Kind::template multiply<0, 4, 6>();
    if (kTiles > 1) Kind::template multiply<1, 4, 7>();
    if (kBlocks > 1) Kind::template multiply<2, 5, 6>();
    if (kBlocks > 1 && kTiles > 1) Kind::template multiply<3, 5, 7>();
    at.x += steps.tile_bytes();
    at.lines += steps.tile_bytes();
  }
}

/// Sums of `count` groups of a block by a tile, 4 kSumFloats apart, and what they are scaled by.
struct Sums {
  const float* sums;
  const float *scales, *corrections;  // [group][16] of the tile; corrections only where there are
  const float* factors;               // [group][16] of the rows; null where there are none
  size_t count;
};

/// Adds them, scaled, to the results of the first kRows rows.
template <typename Kind, int kRows>
void add_sums(const Sums& at, float* results) {
  Vec acc[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) acc[r] = load(results + r * 16);
  for (size_t g = 0; g < at.count; ++g) {
    const float* const sums = at.sums + g * 4 * kSumFloats;
    const float* const factors = at.factors == nullptr ? nullptr : at.factors + g * 16;
    const Vec scales = load(at.scales + g * 16);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      acc[r] = Kind::add_scaled(sums + r * 16, scales, factors, r, acc[r]);
    if (at.corrections == nullptr) continue;
    const Vec corrections = load(at.corrections + g * 16);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) acc[r] = fma(corrections, splat(factors[r]), acc[r]);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) store(results + r * 16, acc[r]);
}
template <typename Kind>
inline void add_sums_of_rows(const Sums& at, size_t rows, float* results) {
  if (rows == 1)
    add_sums<Kind, 1>(at, results);
  else if (rows <= 4)
    add_sums<Kind, 4>(at, results);
  else if (rows <= 8)
    add_sums<Kind, 8>(at, results);
  else
    add_sums<Kind, 16>(at, results);
}

/// What is multiplied at a time: rows [row, end) of x, tiles [tile, tile + tiles) of the weight,
/// groups [begin, last).
struct Cut {
  size_t row, end, tile, tiles, begin, last;
  size_t groups() const { return last - begin; }
  size_t first_block() const { return row / kBlockRows; }
  size_t blocks() const { return (end + kBlockRows - 1) / kBlockRows - first_block(); }
};

/// Groups of a few tiles, unpacked, and the results of a few rows for them so far.
struct TilePanel {
  uint8_t* lines;  // [tile][group]
  float *scales, *corrections;  // [tile][group][16]
  float* results;               // [block][tile][16 rows][16]
};

template <typename Kind>
struct AmxProduct {
  const PackedWeight& weight;
  const PackedProductArgs& args;
  Steps steps;

  /// Groups that fit into some bytes of a row of x, at least a batch.
  size_t groups_in(size_t bytes) const {
    return std::max(bytes / (steps.of_group * steps.row_bytes) / kBatch, size_t{1}) * kBatch;
  }

  TilePanel unpack(const Cut& cut) const {
    constexpr size_t kResults = kRowsAtOnce * kPanelTiles * 16;
    const size_t groups = Kind::kPlain ? 0 : kPanelTiles * cut.groups();
    float* const results =
        scratch(Scratch::kPanel, kResults + groups * (32 + steps.group_bytes() / 4));
    float* const scales = results + kResults;
    float* const corrections = scales + groups * 16;
    const TilePanel panel = {reinterpret_cast<uint8_t*>(corrections + groups * 16), scales,
                           corrections, results};
    for (size_t i = 0; i < cut.tiles * cut.groups() && !Kind::kPlain; ++i) {
      const size_t tile = cut.tile + i / cut.groups(), g = cut.begin + i % cut.groups();
      Kind::unpack(weight, weight.tile(tile) + g * weight.group_bytes, scales + i * 16,
                   corrections + i * 16, panel.lines + i * steps.group_bytes());
    }
    return panel;
  }

  /// kBlocks blocks of rows from `block` of the cut and kTiles tiles from `tile` of it.
  template <int kBlocks, int kTiles>
  void multiply(const Cut& cut, const TilePanel& panel, size_t block, size_t tile) const {
    const size_t first = (cut.first_block() + block) * steps.groups + cut.begin;
    const size_t bytes = steps.group_bytes();
    const auto* const x = static_cast<const uint8_t*>(args.x.values) + first * bytes;
    float* const results = panel.results + (block * kPanelTiles + tile) * kSumFloats;
    if constexpr (Kind::kPlain) {
      const uint8_t* const lines = weight.tile(cut.tile + tile) + cut.begin * bytes;
      load_sums<kBlocks, kTiles>(results, kPanelTiles * kSumFloats);
      multiply_steps<Kind, kBlocks, kTiles>({x, lines, steps.groups * bytes, weight.tile_bytes},
                                            steps, cut.groups());
      store_sums<kBlocks, kTiles>(results, kPanelTiles * kSumFloats);
    } else {
      const GroupPair at = {x, panel.lines + tile * cut.groups() * bytes, steps.groups * bytes,
                            cut.groups() * bytes};
      multiply_groups<kBlocks, kTiles>(cut, panel, at, block, tile, results);
    }
  }

  /// The same for groups, kBatch at a time.
  template <int kBlocks, int kTiles>
  void multiply_groups(const Cut& cut, const TilePanel& panel, GroupPair at, size_t block,
                       size_t tile, float* results) const {
    alignas(64) float sums[kBatch * 4 * kSumFloats];
    const size_t first = (cut.first_block() + block) * steps.groups + cut.begin;
    const float* const factors = Kind::factors(args.x);
    for (size_t g = 0; g < cut.groups(); g += kBatch) {
      const size_t count = std::min(kBatch, cut.groups() - g);
      for (size_t i = 0; i < count; ++i) {
        clear_sums<kBlocks, kTiles>();
        multiply_steps<Kind, kBlocks, kTiles>(at, steps, steps.of_group);
        store_sums<kBlocks, kTiles>(sums + i * 4 * kSumFloats);
        at.x += steps.group_bytes();
        at.lines += steps.group_bytes();
      }
      for (size_t b = 0; b < kBlocks; ++b)
        for (size_t t = 0; t < kTiles; ++t) {
          const size_t group = ((tile + t) * cut.groups() + g) * 16;
          const size_t row_group = (first + b * steps.groups + g) * 16;
          const bool corrects = weight.has_zeros && Kind::kCorrects;
          add_sums_of_rows<Kind>(
              {sums + (2 * b + t) * kSumFloats, panel.scales + group,
               corrects ? panel.corrections + group : nullptr,
               factors == nullptr ? nullptr : factors + row_group, count},
              cut.end - (cut.first_block() + block + b) * kBlockRows,
              results + (b * kPanelTiles + t) * kSumFloats);
        }
    }
  }

  template <int kBlocks>
  void multiply_blocks(const Cut& cut, const TilePanel& panel, size_t block) const {
    size_t t = 0;
    for (; t + 2 <= cut.tiles; t += 2) multiply<kBlocks, 2>(cut, panel, block, t);
    if (t < cut.tiles) multiply<kBlocks, 1>(cut, panel, block, t);
  }

  /// Every row of the cut, a part of which is in its blocks, with its columns of y.
  template <typename Body>
  void each_row(const Cut& cut, float* results, Body body) const {
    for (size_t row = cut.row; row < cut.end; ++row)
      for (size_t t = 0; t < cut.tiles; ++t) {
        const size_t tile = cut.tile + t, block = row / kBlockRows - cut.first_block();
        body(results + (block * kPanelTiles + t) * kSumFloats + row % kBlockRows * 16,
             args.y + (row - args.range.first) * args.ldy + (tile - args.range.tile) * 16,
             std::min<size_t>(16, weight.rows - tile * 16), tile);
      }
  }

  void load_results(const Cut& cut, float* results) const {
    if (cut.begin == 0)
      return std::memset(results, 0, cut.blocks() * kPanelTiles * kSumFloats * 4), void();
    each_row(cut, results, [](float* result, const float* y, size_t n, size_t) {
      store(result, n < 16 ? load_partial(y, n) : load(y));
    });
  }
  void store_results(const Cut& cut, float* results) const {
    const float* const bias = cut.last == steps.groups ? args.bias : nullptr;
    each_row(cut, results, [bias](const float* result, float* y, size_t n, size_t tile) {
      const Vec v = bias == nullptr ? load(result)
                                    : add(load(result), load_partial(bias + tile * 16, n));
      n < 16 ? store_partial(y, v, n) : store(y, v);
    });
  }

  /// A few tiles, `chunk` groups at a time.
  void multiply_cut(const Cut& cut, size_t chunk) const {
    for (Cut part = cut; part.begin < cut.last; part.begin = part.last) {
      part.last = std::min(part.begin + chunk, cut.last);
      const TilePanel panel = unpack(part);
      if (part.begin == cut.begin) load_results(cut, panel.results);
      size_t block = 0;
      for (; block + 2 <= cut.blocks(); block += 2) multiply_blocks<2>(part, panel, block);
      if (block < cut.blocks()) multiply_blocks<1>(part, panel, block);
      if (part.last == cut.last) store_results(cut, panel.results);
    }
  }

  void run() const {
    const TileScope tiles(steps.row_bytes);
    const PackedRange& range = args.range;
    const size_t end = range.first + range.count, range_end = range.tile + range.tiles;
    const size_t chunk = groups_in(Kind::kPlain ? kPlainBytes : kChunkBytes);
    const size_t piece = groups_in(kPieceBytes) / chunk * chunk;
    for (size_t g = 0; g < steps.groups; g += piece)
      for (size_t row = range.first; row < end; row = (row / kRowsAtOnce + 1) * kRowsAtOnce)
        for (size_t tile = range.tile; tile < range_end; tile += kPanelTiles)
          multiply_cut({row, std::min(end, (row / kRowsAtOnce + 1) * kRowsAtOnce), tile,
                        std::min(kPanelTiles, range_end - tile), g,
                        std::min(g + piece, steps.groups)},
                       chunk);
  }
};

template <typename Kind>
void multiply_in_tiles(const PackedWeight& weight, const PackedProductArgs& args) {
  AmxProduct<Kind>{weight, args, steps_of(weight, Kind::kValueBytes)}.run();
}

}  // namespace
}  // namespace llmkit
