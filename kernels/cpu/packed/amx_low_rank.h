#pragma once

#include <algorithm>
#include <cstring>

#include "base/simd/amx.h"
#include "cpu/packed/kernels.h"

// LoRA's update added to results in tile registers: include base/simd/avx512.h first.
//
// The rows of low are prepared in blocks of 16, [m / 16][step][16][64 bytes], the lines of high lie
// as they are packed: like x and a weight of 16-bit codes.

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// kTiles tiles of 16 columns: sums[16, kTiles * 16] += low · high.
template <int kTiles>
inline void add_tiles(const uint8_t* low, const uint8_t* high, size_t next_high, size_t steps,
                      float* sums, size_t ld) {
  const size_t bytes = ld * sizeof(float);
  tile_load<0>(sums, bytes);
  if (kTiles > 1) tile_load<1>(sums + 16, bytes);
  for (size_t step = 0; step < steps; ++step, low += kTileBytes, high += kTileBytes) {
    tile_load<4>(low, kStepBytes);
    tile_load<6>(high, kStepBytes);
    tile_multiply_bf16<0, 4, 6>();
    if (kTiles > 1) tile_load<7>(high + next_high, kStepBytes);
    if (kTiles > 1) tile_multiply_bf16<1, 4, 7>();
  }
  tile_store<0>(sums, bytes);
  if (kTiles > 1) tile_store<1>(sums + 16, bytes);
}

/// To results in memory of the thread: whole blocks of 16 rows and tiles of 16 columns, whatever of
/// them is used. In a TileScope.
inline void add_parts(const LowRankParts& parts, const LowRankBlock& block) {
  const PackedWeight& high = parts.high;
  const size_t row_bytes = high.group_stride * sizeof(uint16_t), steps = row_bytes / kStepBytes;
  const size_t end = std::min(block.col / 16 + block.cols / 16, high.tiles);
  for (size_t row = 0; row < block.rows && block.row + row < parts.low.m; row += 16) {
    const uint8_t* const low =
        static_cast<const uint8_t*>(parts.low.values) + (block.row + row) * row_bytes;
    float* sums = block.y + row * block.ldy;
    size_t tile = block.col / 16;
    for (; tile + 2 <= end; tile += 2, sums += 32)
      add_tiles<2>(low, high.tile(tile), high.tile_bytes, steps, sums, block.ldy);
    if (tile < end) add_tiles<1>(low, high.tile(tile), high.tile_bytes, steps, sums, block.ldy);
  }
}

/// To any block of results, by way of memory of the thread.
inline void add_low_rank_in_tiles(const LowRankParts& parts, const LowRankBlock& block) {
  const TileScope tiles;
  alignas(64) float sums[16 * 32] = {};
  const size_t first = block.row / 16 * 16, end = block.row + block.rows;
  for (size_t row = first; row < end; row += 16) {
    const size_t from = std::max(row, block.row), to = std::min(row + 16, end);
    for (size_t col = 0; col < block.cols; col += 32) {
      const size_t bytes = std::min<size_t>(32, block.cols - col) * sizeof(float);
      float* const y = block.y + (from - block.row) * block.ldy + col;
      for (size_t i = 0; i < to - from; ++i)
        std::memcpy(sums + (from - row + i) * 32, y + i * block.ldy, bytes);
      add_parts(parts, {row, 16, block.col + col, 32, sums, 32});
      for (size_t i = 0; i < to - from; ++i)
        std::memcpy(y + i * block.ldy, sums + (from - row + i) * 32, bytes);
    }
  }
}

}  // namespace
}  // namespace llmkit
