#pragma once

#include <algorithm>

#include "cpu/packed/kernels.h"
#include "cpu/packed_bf16/decode.h"

// Few rows of x: every packed line is read once, decoded in registers and used for all rows.
//
// The sum of a group is one chain of multiply-adds over its columns, so the groups of a tile are
// taken several at a time: their chains do not wait for each other.

namespace llmkit {
namespace {  // a copy per instruction set

/// Groups of a tile that are taken together for kRows rows.
constexpr int groups_at_once(int rows) {
  return kFewChains / rows < 1 ? 1 : kFewChains / rows > 4 ? 4 : kFewChains / rows;
}

/// A tile, from some group on, and the same groups of the rows of x from `row` on.
struct GroupCursor {
  const uint8_t* group;
  const Value* x;
  size_t row, index;  // of the group
};

/// Adds kGroups groups to the accumulators. 16-bit codes have no scale: one chain runs on.
template <PackedCode kCode, int kRows, int kGroups>
inline void add_groups(const PackedWeight& weight, const PreparedRows& rows, const Table& table,
                       const GroupCursor& at, Vec (&acc)[kRows]) {
  constexpr bool kChain = kCode == PackedCode::kSixteenBit;
  constexpr int kPairs = pairs_of(kCode);
  const size_t lines = lines_of_group(weight);
  const uint8_t* const first = at.group + lines_offset(weight);
  Vec s[kGroups][kRows];
#pragma GCC unroll 32
  for (int i = 0; i < kGroups * kRows; ++i) s[i / kRows][i % kRows] = kChain ? acc[i] : zero();
  for (size_t line = 0; line < lines; ++line)
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      const uint8_t* const p = first + g * weight.group_bytes + line * 64;
      __builtin_prefetch(p + kPrefetchBytes);
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
    const Vec scales = kChain ? zero() : group_scales(weight, group);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) acc[r] = kChain ? s[g][r] : fma(s[g][r], scales, acc[r]);
    if (!weight.has_zeros) continue;
    const Vec corrections = group_corrections(weight, group, scales);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      acc[r] = fma(corrections,
                   splat(rows.totals[(at.row + r) * weight.groups + at.index + g]), acc[r]);
  }
}

/// kRows rows of x from `row` times one tile.
template <PackedCode kCode, int kRows>
inline void few_tile(const PackedWeight& weight, const PreparedRows& rows, size_t row,
                     const uint8_t* tile, Vec (&acc)[kRows]) {
  constexpr int kGroups = kCode == PackedCode::kSixteenBit ? 1 : groups_at_once(kRows);
  const Table table = table_of(weight.values);
  GroupCursor at = {tile, static_cast<const Value*>(rows.values) + row * rows.stride, row, 0};
  const auto advance = [&](size_t groups) {
    at.group += groups * weight.group_bytes;
    at.x += groups * weight.group_stride;
    at.index += groups;
  };
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) acc[r] = zero();
  for (; at.index + kGroups <= weight.groups; advance(kGroups))
    add_groups<kCode, kRows, kGroups>(weight, rows, table, at, acc);
  if constexpr (kGroups > 1)
    for (; at.index < weight.groups; advance(1))
      add_groups<kCode, kRows, 1>(weight, rows, table, at, acc);
}

template <PackedCode kCode, int kRows>
void few_of(const PackedWeight& weight, const PackedProductArgs& args, size_t row) {
  for (size_t t = 0; t < args.range.tiles; ++t) {
    const size_t tile = args.range.tile + t;
    Vec acc[kRows];
    few_tile<kCode, kRows>(weight, args.x, args.range.first + row, weight.tile(tile), acc);
    const size_t n = std::min<size_t>(16, weight.rows - tile * 16);
    const Vec bias = args.bias == nullptr ? zero() : load_partial(args.bias + tile * 16, n);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      store_partial(args.y + (row + r) * args.ldy + t * 16, add(acc[r], bias), n);
  }
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
