#pragma once

#include <algorithm>

#include "cpu/packed/kernels.h"
#include "cpu/packed_bf16/decode.h"

// Few rows of x: every packed line is read once, decoded in registers and used for all rows.
//
// The sum of a group is one chain of multiply-adds over its columns, so the groups of a tile are
// taken several at a time: their chains do not wait for each other. 16-bit codes have one chain for
// all columns, so several tiles are taken at a time.

namespace llmkit {
namespace {  // a copy per instruction set

/// Groups of a tile, or tiles of 16-bit codes, that are taken together for some rows.
constexpr int at_once(int chains, int rows) {
  return chains >= 4 * rows ? 4 : chains >= 2 * rows ? 2 : 1;
}
constexpr int groups_at_once(int rows) { return at_once(kFewChains, rows); }
constexpr int tiles_at_once(int rows) { return at_once(kPlainChains, rows); }
/// A weight of 16-bit codes with more bytes comes from memory, where one stream is the fastest.
constexpr size_t kCachedWeightBytes = size_t{1} << 20;

/// A tile, from some group on, and the same groups of the rows of x from `row` on.
struct GroupCursor {
  const uint8_t* group;
  const Value* x;
  size_t row, index;  // of the group
  size_t prefetch = prefetch_bytes();
};

/// Adds kGroups groups to the accumulators.
template <PackedCode kCode, int kRows, int kGroups>
inline void add_groups(const PackedWeight& weight, const PreparedRows& rows, const Table& table,
                       const GroupCursor& at, Vec (&acc)[kRows]) {
  constexpr int kPairs = pairs_of(kCode);
  const size_t lines = lines_of_group(weight);
  const uint8_t* const first = at.group + lines_offset(weight);
  const uint8_t* ahead = first + at.prefetch;  // in the order of memory, whatever the lines'
  Vec s[kGroups][kRows];
#pragma GCC unroll 32
  for (int i = 0; i < kGroups * kRows; ++i) s[i / kRows][i % kRows] = zero();
  for (size_t line = 0; line < lines; ++line)
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      const uint8_t* const p = first + g * weight.group_bytes + line * 64;
      __builtin_prefetch(ahead);
      ahead += 64;
      Columns w[kPairs];
      decode<kCode>(p, table, w);
      const Value* const x = at.x + g * weight.group_stride + line * 2 * kPairs;
#pragma GCC unroll 4
      for (int i = 0; i < kPairs; ++i)
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r)
          s[g][r] = multiply_add(w[i], x + r * rows.stride + 2 * i, s[g][r]);
    }
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    const uint8_t* const group = at.group + g * weight.group_bytes;
    const Vec scales = group_scales(weight, group);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) acc[r] = fma(s[g][r], scales, acc[r]);
    if (!weight.has_zeros) continue;
    const Vec corrections = group_corrections(weight, group, scales);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      acc[r] =
          fma(corrections, splat(rows.totals[(at.row + r) * weight.groups + at.index + g]), acc[r]);
  }
}

/// kRows rows of x from `row` times a tile of codes with scales.
template <PackedCode kCode, int kRows>
inline void coded_tile(const PackedWeight& weight, const PreparedRows& rows, size_t row,
                       size_t tile, Vec (&acc)[1][kRows]) {
  constexpr int kGroups = groups_at_once(kRows);
  const Table table = table_of(weight.values);
  GroupCursor at = {weight.tile(tile), static_cast<const Value*>(rows.values) + row * rows.stride,
                    row, 0};
  const auto advance = [&](size_t groups) {
    at.group += groups * weight.group_bytes;
    at.x += groups * weight.group_stride;
    at.index += groups;
  };
  for (; at.index + kGroups <= weight.groups; advance(kGroups))
    add_groups<kCode, kRows, kGroups>(weight, rows, table, at, acc[0]);
  if constexpr (kGroups > 1)
    for (; at.index < weight.groups; advance(1))
      add_groups<kCode, kRows, 1>(weight, rows, table, at, acc[0]);
}

/// The same with kTiles tiles of 16-bit codes from `tile` on.
template <int kRows, int kTiles>
inline void plain_tiles(const PackedWeight& weight, const PreparedRows& rows, size_t row,
                        size_t tile, Vec (&acc)[kTiles][kRows]) {
  const uint8_t* line = weight.tile(tile);
  const uint8_t* const end = line + weight.tile_bytes;
  const size_t prefetch = prefetch_bytes();
  const Value* x = static_cast<const Value*>(rows.values) + row * rows.stride;
  for (; line < end; line += 64, x += 2)
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      const uint8_t* const p = line + t * weight.tile_bytes;
      __builtin_prefetch(p + prefetch);
      Columns w;
      decode_sixteen_bit(p, &w);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) acc[t][r] = multiply_add(w, x + r * rows.stride, acc[t][r]);
    }
}

/// kRows rows of x times kTiles tiles from `tile` of the range.
template <PackedCode kCode, int kRows, int kTiles>
inline void few_tiles(const PackedWeight& weight, const PackedProductArgs& args, size_t row,
                      size_t tile) {
  const size_t first = args.range.tile + tile, x_row = args.range.first + row;
  Vec acc[kTiles][kRows];
#pragma GCC unroll 32
  for (int i = 0; i < kTiles * kRows; ++i) acc[i / kRows][i % kRows] = zero();
  if constexpr (kCode == PackedCode::kSixteenBit)
    plain_tiles<kRows, kTiles>(weight, args.x, x_row, first, acc);
  else
    coded_tile<kCode, kRows>(weight, args.x, x_row, first, acc);
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) {
    const size_t n = std::min<size_t>(16, weight.rows - (first + t) * 16);
    const Vec bias = args.bias == nullptr ? zero() : load_partial(args.bias + (first + t) * 16, n);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      store_partial(args.y + (row + r) * args.ldy + (tile + t) * 16, add(acc[t][r], bias), n);
  }
}

template <PackedCode kCode, int kRows>
void few_of(const PackedWeight& weight, const PackedProductArgs& args, size_t row) {
  constexpr int kTiles = kCode == PackedCode::kSixteenBit ? tiles_at_once(kRows) : 1;
  size_t tile = 0;
  if constexpr (kTiles > 1)
    if (weight.size_bytes() <= kCachedWeightBytes)
      for (; tile + kTiles <= args.range.tiles; tile += kTiles)
        few_tiles<kCode, kRows, kTiles>(weight, args, row, tile);
  for (; tile < args.range.tiles; ++tile) few_tiles<kCode, kRows, 1>(weight, args, row, tile);
}

/// The last `count` rows, fewer than kRows + 1.
template <PackedCode kCode, int kRows>
void few_rest(const PackedWeight& weight, const PackedProductArgs& args, size_t row, size_t count) {
  if (count == kRows) return few_of<kCode, kRows>(weight, args, row);
  if constexpr (kRows > 1) few_rest<kCode, kRows - 1>(weight, args, row, count);
}

template <PackedCode kCode>
void few_rows_of(const PackedWeight& weight, const PackedProductArgs& args) {
  for (size_t row = 0; row < args.range.count; row += kFewRows)
    few_rest<kCode, kFewRows>(weight, args, row,
                              std::min<size_t>(kFewRows, args.range.count - row));
}

void few(const PackedWeight& weight, const PackedProductArgs& args) {
  if (weight.code == PackedCode::kFourBit) return few_rows_of<PackedCode::kFourBit>(weight, args);
  if (weight.code == PackedCode::kEightBit) return few_rows_of<PackedCode::kEightBit>(weight, args);
  few_rows_of<PackedCode::kSixteenBit>(weight, args);
}

}  // namespace
}  // namespace llmkit
