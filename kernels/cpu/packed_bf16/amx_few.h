#pragma once

#include <algorithm>

#include "base/simd/amx.h"
#include "cpu/packed/kernels.h"
#include "cpu/packed_bf16/columns_avx512_bf16.h"
#include "cpu/packed_bf16/decode.h"

// Few rows of x without tiles, which take as long for one row as for 16. Every packed line is read
// once and used for all rows.
//
// The bits are those of tiles. A step of tdpbf16ps makes two chains of fused multiply-adds over its
// 32 columns, both from zero: one over the first of each pair, one over the second. Then it adds
// first + second to the sum, as its description in the manual has it. x is prepared row by row,
// rounded to bf16 and stored as float32, in the order of the lines.

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// 16 rows of the two columns of a pair.
struct FloatPair {
  Vec first, second;
};

/// The pairs of a line in the order of `decode`.
template <PackedCode kCode>
inline void decode_floats(const uint8_t* p, Vec table, FloatPair (&out)[pairs_of(kCode)]) {
  const Index line = as_int(load(p));
  if constexpr (kCode == PackedCode::kFourBit) {
    out[0] = {lookup(table, line), lookup(table, shift_right<16>(line))};
    out[1] = {lookup(table, shift_right<4>(line)), lookup(table, shift_right<20>(line))};
    out[2] = {lookup(table, shift_right<8>(line)), lookup(table, shift_right<24>(line))};
    out[3] = {lookup(table, shift_right<12>(line)), lookup(table, shift_right<28>(line))};
  } else if constexpr (kCode == PackedCode::kEightBit) {
    const Index codes = bit_xor(line, splat_int(0x80808080u));
    const auto column = [](Index top) { return to_float(shift_right_signed<24>(top)); };
    out[0] = {column(shift_left<24>(codes)), column(shift_left<16>(codes))};
    out[1] = {column(shift_left<8>(codes)), column(codes)};
  } else {
    out[0] = {as_float(shift_left<16>(line)), as_float(bit_and(line, splat_int(0xffff0000u)))};
  }
}

/// Adds a step of 32 columns to the sums of kRows rows of x.
template <PackedCode kCode, int kRows>
inline void add_step(const uint8_t* lines, Vec table, const float* x, size_t stride,
                     Vec (&sums)[kRows]) {
  constexpr int kPairs = pairs_of(kCode);
  Vec first[kRows], second[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) first[r] = second[r] = zero();
#pragma GCC unroll 4
  for (int line = 0; line < 16 / kPairs; ++line, lines += 64, x += 2 * kPairs) {
    __builtin_prefetch(lines + kPrefetchBytes);
    FloatPair w[kPairs];
    decode_floats<kCode>(lines, table, w);
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i)
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const float* const pair = x + r * stride + 2 * i;
        first[r] = fma(w[i].first, splat(pair[0]), first[r]);
        second[r] = fma(w[i].second, splat(pair[1]), second[r]);
      }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) sums[r] = add(sums[r], add(first[r], second[r]));
}

/// A tile, and kRows rows of x from `row` on.
template <PackedCode kCode, int kRows>
inline void sum_tile(const PackedWeight& weight, const PreparedRows& rows, size_t row,
                     const uint8_t* group, Vec (&acc)[kRows]) {
  constexpr bool kPlain = kCode == PackedCode::kSixteenBit;
  constexpr size_t kColumns = 32, kStepLines = 16 / pairs_of(kCode) * 64;
  const Vec table = load_bf16(reinterpret_cast<const uint8_t*>(weight.values));
  const float* x = static_cast<const float*>(rows.values) + row * rows.stride;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) acc[r] = zero();
  for (size_t g = 0; g < weight.groups; ++g, group += weight.group_bytes) {
    const uint8_t* lines = group + lines_offset(weight);
    Vec sums[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[r] = kPlain ? acc[r] : zero();
    for (size_t k = 0; k < weight.group_stride; k += kColumns, lines += kStepLines, x += kColumns)
      add_step<kCode, kRows>(lines, table, x, rows.stride, sums);
    const Vec scales = kPlain ? zero() : group_scales(weight, group);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) acc[r] = kPlain ? sums[r] : fma(sums[r], scales, acc[r]);
    if (!weight.has_zeros) continue;
    const Vec corrections = group_corrections(weight, group, scales);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
      acc[r] = fma(corrections, splat(rows.totals[(row + r) * weight.groups + g]), acc[r]);
  }
}

/// Rows [row, row + count) of the range, at most kRows of them.
template <PackedCode kCode, int kRows>
void few_rows_without_tiles(const PackedWeight& weight, const PackedProductArgs& args, size_t row,
                            size_t count) {
  if constexpr (kRows > 1)
    if (count < kRows) return few_rows_without_tiles<kCode, kRows - 1>(weight, args, row, count);
  for (size_t t = 0; t < args.range.tiles; ++t) {
    const size_t tile = args.range.tile + t, n = std::min<size_t>(16, weight.rows - tile * 16);
    Vec acc[kRows];
    sum_tile<kCode, kRows>(weight, args.x, args.range.first + row, weight.tile(tile), acc);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      if (args.bias != nullptr) acc[r] = add(acc[r], load_partial(args.bias + tile * 16, n));
      store_partial(args.y + (row + r) * args.ldy + t * 16, acc[r], n);
    }
  }
}

template <PackedCode kCode>
void few_without_tiles_of(const PackedWeight& weight, const PackedProductArgs& args) {
  const FlushSubnormals flush;
  for (size_t row = 0; row < args.range.count; row += kFewRows)
    few_rows_without_tiles<kCode, kFewRows>(weight, args, row,
                                            std::min<size_t>(kFewRows, args.range.count - row));
}

void few_without_tiles(const PackedWeight& weight, const PackedProductArgs& args) {
  if (weight.code == PackedCode::kFourBit)
    return few_without_tiles_of<PackedCode::kFourBit>(weight, args);
  if (weight.code == PackedCode::kEightBit)
    return few_without_tiles_of<PackedCode::kEightBit>(weight, args);
  few_without_tiles_of<PackedCode::kSixteenBit>(weight, args);
}

}  // namespace
}  // namespace llmkit
