#pragma once

#include <algorithm>
#include <cstring>

#include "base/scratch.h"
#include "cpu/packed/amx_groups.h"
#include "cpu/packed/amx_results.h"

// Products in tile registers, for int8 and bf16: include base/simd/avx512.h first.
//
// x is prepared in blocks of 16 rows: values [m / 16][step][16][kRowBytes], factors
// [m / 16][group][16]. A step is what one multiplication of tiles takes, the kind's kRowBytes of a
// row, 64 at most. The weight is unpacked to lines [step][kRowBytes / 4][16][4 bytes] of a tile.
// Two blocks of rows by two tiles are taken at once, and their results lie in memory of the thread.
// Weights of 16-bit codes, which have no groups, are multiplied by amx_plain.h.

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// Groups are whole steps of x. Lines of the weight behind a group's own are not set, so that only
/// groups of integers may have such.
template <typename Kind>
Steps steps_of(const PackedWeight& weight) {
  const size_t bytes = weight.group_stride * sizeof(typename Kind::Value);
  return {(bytes + Kind::kRowBytes - 1) / Kind::kRowBytes, weight.groups, Kind::kRowBytes};
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
  uint8_t* lines;               // [tile][group]
  float *scales, *corrections;  // [tile][group][16]
  float* results;               // [block][16 rows][tile][16]
};

template <typename Kind>
struct AmxProduct {
  static constexpr size_t kPanelTiles = panel_tiles(Kind::kRowBytes),
                          kResultCols = kPanelTiles * 16;

  const PackedWeight& weight;
  const PackedProductArgs& args;
  const Steps steps;
  const Results results;

  AmxProduct(const PackedWeight& weight, const PackedProductArgs& args)
      : weight(weight), args(args), steps(steps_of<Kind>(weight)), results(weight, args) {}

  /// Groups that fit into some bytes of a row of x, at least one.
  size_t groups_in(size_t bytes) const {
    return std::max(bytes / (steps.of_group * Kind::kRowBytes), size_t{1});
  }

  /// Asks for the group that the next panel has here.
  static void prefetch(const uint8_t* group, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(group + i, 0, 2);
  }

  TilePanel unpack(const Cut& cut) const {
    constexpr size_t kResults = kCachedRows * kPanelTiles * 16;
    const size_t groups = kPanelTiles * cut.groups();
    float* const results =
        scratch(Scratch::kPanel, kResults + groups * (32 + steps.group_bytes() / 4));
    float* const scales = results + kResults;
    float* const corrections = scales + groups * 16;
    const TilePanel panel = {reinterpret_cast<uint8_t*>(corrections + groups * 16), scales,
                             corrections, results};
    for (size_t i = 0; i < cut.tiles * cut.groups(); ++i) {
      const size_t tile = cut.tile + i / cut.groups(), g = cut.begin + i % cut.groups();
      const uint8_t* const group = weight.tile(tile) + g * weight.group_bytes;
      prefetch(group + cut.groups() * weight.group_bytes, weight.group_bytes);
      Kind::unpack(weight, group, scales + i * 16, corrections + i * 16,
                   panel.lines + i * steps.group_bytes());
    }
    return panel;
  }

  /// kBlocks blocks of rows from `block` of the cut and kTiles tiles from `tile` of it.
  template <int kBlocks, int kTiles>
  void multiply(const Cut& cut, const TilePanel& panel, size_t block, size_t tile) const {
    const size_t first = (cut.first_block() + block) * steps.groups + cut.begin;
    const size_t bytes = steps.group_bytes(), next_x = steps.groups * bytes;
    const auto* const x = static_cast<const uint8_t*>(args.x.values) + first * bytes;
    float* const results = results_of(panel, block) + tile * 16;
    const size_t at = tile * cut.groups();
    const float* const factors = Kind::factors(args.x);
    const bool corrects = weight.has_zeros && Kind::kCorrects;
    GroupProducts<Kind, kBlocks, kTiles>(
        {cut.groups(), x, panel.lines + at * bytes, next_x, cut.groups() * bytes,
         panel.scales + at * 16, corrects ? panel.corrections + at * 16 : nullptr,
         factors == nullptr ? nullptr : factors + first * 16, cut.groups() * 16, steps.groups * 16,
         results, cut.end - (cut.first_block() + block) * kBlockRows},
        steps)
        .run();
  }

  template <int kBlocks>
  void multiply_blocks(const Cut& cut, const TilePanel& panel, size_t block) const {
    size_t t = 0;
    for (; t + 2 <= cut.tiles; t += 2) multiply<kBlocks, 2>(cut, panel, block, t);
    if (t < cut.tiles) multiply<kBlocks, 1>(cut, panel, block, t);
  }

  static float* results_of(const TilePanel& panel, size_t block) {
    return panel.results + block * kBlockRows * kResultCols;
  }
  ResultBlock result_block(const Cut& cut, const TilePanel& panel, size_t block) const {
    return {results_of(panel, block),
            kResultCols,
            (cut.first_block() + block) * kBlockRows,
            kBlockRows,
            cut.tile * 16,
            cut.tiles * 16};
  }

  /// A few tiles, `chunk` groups at a time.
  void multiply_cut(const Cut& cut, size_t chunk) const {
    for (Cut part = cut; part.begin < cut.last; part.begin = part.last) {
      part.last = std::min(part.begin + chunk, cut.last);
      const TilePanel panel = unpack(part);
      if (part.begin == 0)
        std::memset(panel.results, 0, cut.blocks() * kBlockRows * kResultCols * sizeof(float));
      for (size_t i = 0; i < cut.blocks() && part.begin == cut.begin && part.begin > 0; ++i)
        results.load(result_block(cut, panel, i));
      size_t block = 0;
      for (; block + 2 <= cut.blocks(); block += 2) multiply_blocks<2>(part, panel, block);
      if (block < cut.blocks()) multiply_blocks<1>(part, panel, block);
      for (size_t i = 0; i < cut.blocks() && part.last == cut.last; ++i)
        results.store(result_block(cut, panel, i), cut.last == steps.groups);
    }
  }

  void run() const {
    const TileScope tiles(Kind::kRowBytes);
    const PackedRange& range = args.range;
    const size_t end = range.first + range.count, range_end = range.tile + range.tiles;
    const size_t chunk = std::max(panel_steps(Kind::kRowBytes) / steps.of_group, size_t{1});
    // Sums that are rounded once are not put aside.
    const size_t cached = groups_in(kCachedBytes) / chunk * chunk;
    const size_t piece = args.halves != nullptr ? std::max(cached, steps.groups) : cached;
    for (size_t g = 0; g < steps.groups; g += piece)
      for (size_t row = range.first; row < end; row = (row / kCachedRows + 1) * kCachedRows)
        for (size_t tile = range.tile; tile < range_end; tile += kPanelTiles)
          multiply_cut(
              {row, std::min(end, (row / kCachedRows + 1) * kCachedRows), tile,
               std::min(kPanelTiles, range_end - tile), g, std::min(g + piece, steps.groups)},
              chunk);
  }
};

template <typename Kind>
void multiply_in_tiles(const PackedWeight& weight, const PackedProductArgs& args) {
  AmxProduct<Kind>(weight, args).run();
}

}  // namespace
}  // namespace llmkit
