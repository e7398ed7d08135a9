#pragma once

#include "base/scratch.h"
#include "cpu/packed_int8/prepare.h"
#include "cpu/packed_int8/sources.h"

// Products of int8 rows with packed codes, the arithmetic of packed.h: include base/simd/<isa>.h
// first.

namespace llmkit {
namespace {  // a copy per instruction set

/// Rows of x, of which `side` lie side by side, and where they go in y.
struct Rows {
  const int8_t* values;
  const float* scales;
  const int32_t* starts;
  size_t side;
  float* y;
  size_t ldy;

  Rows from(size_t row) const {
    return {values + 4 * row, scales + row, starts + row, side, y + row * ldy, ldy};
  }
};

/// What is multiplied: groups [begin, end) of the tiles from `tile` on.
struct Cut {
  size_t tile, begin, end;
};

inline size_t rows_of_tile(const PackedWeight& w, size_t tile) {
  const size_t left = w.rows - tile * kLanes;
  return left < kLanes ? left : kLanes;
}

/// kRows rows of x, of which kSide lie side by side (0: as x says), times the tiles of a source: in
/// product.h or product_avx2.h. Sums of the groups before are taken from y.
template <GroupKind kKind, typename Source, int kRows, int kSide>
void product_tile(const PackedWeight& w, const Cut& cut, Source source, const Rows& x,
                  const float* bias);

/// The rows of x from `row` on, of whose block all or some are taken.
template <int kRows>
inline Rows rows_from(const PackedWeight& w, const PackedProductArgs& a, size_t row, float* y) {
  const size_t block = row / kRows * kRows, at = row - block, left = a.x.m - block;
  return {static_cast<const int8_t*>(a.x.values) + block * a.x.stride + 4 * at,
          a.x.scales + block * w.groups + at,
          a.x.starts + block * w.groups + at,
          left < kRows ? left : kRows,
          y,
          a.ldy};
}

/// All kRows rows of a block.
template <GroupKind kKind, typename Source, int kRows>
inline void product_whole(const PackedWeight& w, const Cut& cut, const Source& source,
                          const Rows& x, const float* bias) {
  if constexpr (kRows <= Source::kMostRows) {
    product_tile<kKind, Source, kRows, kRows>(w, cut, source, x, bias);
  } else {
    constexpr int kFirst = (kRows + 1) / 2;
    product_tile<kKind, Source, kFirst, kRows>(w, cut, source.of_pass(0), x, bias);
    product_tile<kKind, Source, kRows - kFirst, kRows>(w, cut, source.of_pass(1), x.from(kFirst),
                                                       bias);
  }
}

/// `rows` rows of a block: all of them at once, or else one by one.
template <GroupKind kKind, typename Source, int kRows>
inline void product_rows(size_t rows, const PackedWeight& w, const Cut& cut, const Source& source,
                         Rows x, const float* bias) {
  if constexpr (kRows > 1)
    if (x.side < kRows)
      return product_rows<kKind, Source, kRows - 1>(rows, w, cut, source, x, bias);
  if (rows == x.side) return product_whole<kKind, Source, kRows>(w, cut, source, x, bias);
  for (; rows > 0; --rows, x = x.from(1))
    product_tile<kKind, Source, 1, 0>(w, cut, source, x, bias);
}

/// All rows of a range, block by block.
template <GroupKind kKind, typename Source, int kRows>
inline void product_blocks(const PackedWeight& w, const PackedProductArgs& a, const Cut& cut,
                           const Source& source, float* y) {
  const size_t end = a.range.first + a.range.count;
  for (size_t row = a.range.first; row < end;) {
    const size_t next = (row / kRows + 1) * kRows, rows = (next < end ? next : end) - row;
    product_rows<kKind, Source, kRows>(rows, w, cut, source, rows_from<kRows>(w, a, row, y),
                                       a.bias);
    row += rows;
    y += rows * a.ldy;
  }
}

template <typename Source, int kRows>
inline void product_all(const PackedWeight& w, const PackedProductArgs& a, const Cut& cut,
                        const Source& source, float* y) {
  if (w.group_stride % kPlainCols<Source::kCode> != 0)
    product_blocks<GroupKind::kAny, Source, kRows>(w, a, cut, source, y);
  else if (w.has_zeros)
    product_blocks<GroupKind::kZeros, Source, kRows>(w, a, cut, source, y);
  else
    product_blocks<GroupKind::kPlain, Source, kRows>(w, a, cut, source, y);
}

template <PackedCode kCode, int kRows>
inline void few_of(const PackedWeight& w, const PackedProductArgs& a) {
  float* y = a.y;
  const size_t end = a.range.tile + a.range.tiles;
  size_t tile = a.range.tile;
  if constexpr (kFewestOfPairs <= kRows)
    if (a.range.count >= kFewestOfPairs && w.tile_bytes <= kPairTileBytes)
      for (; tile + 1 < end; tile += 2, y += 2 * kLanes)
        product_all<PairSource<kCode>, kRows>(w, a, {tile, 0, w.groups}, PairSource<kCode>(w, tile),
                                              y);
  for (; tile < end; ++tile, y += kLanes)
    product_all<PackedSource<kCode>, kRows>(w, a, {tile, 0, w.groups}, PackedSource<kCode>(w, tile),
                                            y);
}

template <PackedCode kCode, int kRows>
inline void many_of(const PackedWeight& w, const PackedProductArgs& a) {
  using Source = PanelSource<kCode>;
  const size_t group_floats = Source::group_vectors(w) * kLanes;
  const size_t most = kPanelBytes / (group_floats * sizeof(float));
  const size_t depth = most < w.groups ? most : w.groups;
  float* const panel = scratch(Scratch::kPanel, depth * group_floats);
  float* y = a.y;
  size_t tile = a.range.tile, left = a.range.tiles;
  for (; left >= kPanelTiles; left -= kPanelTiles) {
    for (size_t begin = 0; begin < w.groups; begin += depth) {
      const size_t end = begin + depth < w.groups ? begin + depth : w.groups;
      Source::unpack(w, tile, begin, end, panel);
      product_all<Source, kRows>(w, a, {tile, begin, end}, Source(w, panel), y);
    }
    tile += kPanelTiles;
    y += kPanelTiles * kLanes;
  }
  if (left == 0) return;
  PackedProductArgs rest = a;
  rest.range.tile = tile;
  rest.range.tiles = left;
  rest.y = y;
  few_of<kCode, kRows>(w, rest);
}

/// Rows of x in blocks of kRows.
template <int kRows>
inline void few_int8(const PackedWeight& w, const PackedProductArgs& a) {
  w.code == PackedCode::kFourBit ? few_of<PackedCode::kFourBit, kRows>(w, a)
                                 : few_of<PackedCode::kEightBit, kRows>(w, a);
}
template <int kRows>
inline void many_int8(const PackedWeight& w, const PackedProductArgs& all) {
  const size_t fitting = kRowsBytes / all.x.stride;
  const size_t most = fitting < kLeastManyRows ? kLeastManyRows : fitting;
  PackedProductArgs a = all;
  size_t left = all.range.count;
  for (size_t parts = (left + most - 1) / most; left > 0; --parts) {
    const size_t blocks = (left + parts * kRows - 1) / (parts * kRows);
    a.range.count = blocks * kRows < left ? blocks * kRows : left;
    w.code == PackedCode::kFourBit ? many_of<PackedCode::kFourBit, kRows>(w, a)
                                   : many_of<PackedCode::kEightBit, kRows>(w, a);
    a.range.first += a.range.count;
    a.y += a.range.count * a.ldy;
    left -= a.range.count;
  }
}

}  // namespace
}  // namespace llmkit
