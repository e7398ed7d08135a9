#pragma once

#include "cpu/packed/columns.h"
#include "cpu/packed_grad/packed_grad.h"

// A packed weight as panels: include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

template <int kCol, typename Line, typename Panel>
inline void put_columns(const Line& line, const TileLines (&tiles)[2], Index a, Index b,
                        const Panel& panel, size_t col) {
  if constexpr (kCol < static_cast<int>(Line::kCols)) {
    const Vec second = tiles[1].lines == nullptr ? zero()
                                                 : line.template value<kCol>(b, tiles[1].scaling);
    panel.put(col + kCol, line.template value<kCol>(a, tiles[0].scaling), second);
    put_columns<kCol + 1>(line, tiles, a, b, panel, col);
  }
}

/// Columns of two tiles: panel.put(column, values of the first tile, of the second).
template <typename Line, typename Panel>
inline void decode_step(const PackedWeight& weight, const GradPanel& p, const Line& line,
                        const Panel& panel) {
  for (size_t col = 0; col < p.cols;) {
    const size_t group = (p.col + col) / weight.group_stride;
    const size_t skip = (p.col + col) % weight.group_stride;
    const size_t rest = weight.group_stride - skip;
    const size_t end = p.cols - col < rest ? p.cols : col + rest;
    TileLines tiles[2] = {tile_lines<Line>(weight, p.tile, group), {}};
    if (p.tiles > 1) tiles[1] = tile_lines<Line>(weight, p.tile + 1, group);
    for (size_t at = skip / Line::kCols * 64; col < end; col += Line::kCols, at += 64) {
      const Index a = as_int(load(tiles[0].lines + at));
      const Index b = tiles[1].lines == nullptr ? a : as_int(load(tiles[1].lines + at));
      put_columns<0>(line, tiles, a, b, panel, col);
    }
  }
}

template <typename Line, typename Panel>
inline void decode_lines(const PackedWeight& weight, GradPanel p, Panel panel) {
  const Line line(weight);
  for (size_t left = p.tiles; left > 0; left -= p.tiles) {
    p.tiles = left < 2 ? left : 2;
    decode_step(weight, p, line, panel);
    p.tile += p.tiles;
    panel.next();
  }
}

template <typename Panel>
inline void decode_panel(const PackedWeight& weight, const GradPanel& p, Panel panel) {
  switch (weight.code) {
    case PackedCode::kFourBit:
      return decode_lines<FourBitLine>(weight, p, panel);
    case PackedCode::kEightBit:
      return decode_lines<EightBitLine>(weight, p, panel);
    case PackedCode::kSixteenBit:
      return decode_lines<SixteenBitLine>(weight, p, panel);
  }
}

}  // namespace
}  // namespace llmkit
