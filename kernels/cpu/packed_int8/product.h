#pragma once

#include "cpu/packed_int8/generic.h"

// The product of some rows of x and some tiles: include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

/// Four bytes of a row of x in every lane.
inline Index splat_four(const int8_t* x) {
  uint32_t four;
  std::memcpy(&four, x, sizeof four);
  return splat_int(four);
}

/// Adds a step of columns to the sums of a group; `values` is four columns of the first row, those
/// of the next one follow, and `side` rows further are the next four.
template <typename Source, int kRows>
inline void add_step(Source& source, const int8_t* values, size_t side,
                     Carried (&c)[kRows][Source::kTiles]) {
  Codes codes[Source::kTiles];
  source.next_step(codes);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    const int8_t* const row = values + 4 * i;
#pragma GCC unroll 4
    for (int t = 0; t < Source::kTiles; ++t)
      if constexpr (Source::kCode == PackedCode::kFourBit)
        c[i][t] = carry(dot_nibbles(index_of(c[i][t]), codes[t].a, splat_four(row), codes[t].b,
                                    splat_four(row + 4 * side)));
      else
        c[i][t] = carry(dot_bytes(index_of(c[i][t]), codes[t].a, splat_four(row)));
  }
}

/// The int32 sums of a group, from minus the zero point times the sum of x.
template <GroupKind kKind, typename Source, int kRows>
inline void sum_group(const PackedWeight& w, Source& source, const Rows& x, size_t side,
                      Carried (&c)[kRows][Source::kTiles]) {
  constexpr size_t kUnroll = kKind == GroupKind::kAny ? 1 : kUnrolled;
  constexpr size_t kCols = kColsOfStep<Source::kCode>;
  const bool zeros = kKind == GroupKind::kAny ? w.has_zeros : kKind == GroupKind::kZeros;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    const Index start = splat_int(static_cast<uint32_t>(x.starts[i]));
    for (int t = 0; t < Source::kTiles; ++t)
      c[i][t] = carry(zeros ? mul_16(source.zeros(t), start) : start);
  }
  const int8_t* values = x.values;
  const int8_t* const end = values + w.group_stride * side;
  do {
#pragma GCC unroll 4
    for (size_t step = 0; step < kUnroll; ++step)
      add_step<Source, kRows>(source, values + step * kCols * side, side, c);
    values += kUnroll * kCols * side;
  } while (values < end);
}

// Not inlined, so that a loop has the registers for itself.
template <GroupKind kKind, typename Source, int kRows, int kSide>
__attribute__((noinline)) void product_tile(const PackedWeight& w, const Cut& cut, Source source,
                                            const Rows& rows, const float* bias) {
  constexpr int kTiles = Source::kTiles;
  const size_t side = kSide > 0 ? kSide : rows.side;
  Rows x = rows;
  x.values += cut.begin * w.group_stride * side;
  x.scales += cut.begin * side;
  x.starts += cut.begin * side;
  Vec acc[kRows][kTiles];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
    for (int t = 0; t < kTiles; ++t) {
      const float* const y = x.y + i * x.ldy + t * kLanes;
      acc[i][t] = cut.begin == 0 ? zero() : load_some(y, rows_of_tile(w, cut.tile + t));
    }
  const float* y = x.y;
  for (size_t g = cut.begin; g < cut.end; ++g, y += x.ldy) {
    // A row of y with each group: all of them at once would keep the lines of the panel waiting.
    if (g - cut.begin < kRows)
      for (int t = 0; t < kTiles; ++t) __builtin_prefetch(y + t * kLanes, 1);
    Carried c[kRows][kTiles];
    source.next_group();
    sum_group<kKind, Source, kRows>(w, source, x, side, c);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
      for (int t = 0; t < kTiles; ++t) {
        const Vec scale = mul(source.scale(t), splat(x.scales[i]));
        acc[i][t] = fma(to_float(index_of(c[i][t])), scale, acc[i][t]);
      }
    x.values += w.group_stride * side;
    x.scales += side;
    x.starts += side;
  }
  for (int t = 0; t < kTiles; ++t) {
    const size_t n = rows_of_tile(w, cut.tile + t);
    const bool add_bias = bias != nullptr && cut.end == w.groups;
    const Vec offset = add_bias ? load_some(bias + (cut.tile + t) * kLanes, n) : zero();
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      float* const to = x.y + i * x.ldy + t * kLanes;
      const Vec result = add_bias ? add(acc[i][t], offset) : acc[i][t];
      n < kLanes ? store_partial(to, result, n) : store(to, result);
    }
  }
}

}  // namespace
}  // namespace llmkit
