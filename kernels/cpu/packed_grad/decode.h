#pragma once

#include <cstring>

#include "cpu/packed_grad/packed_grad.h"

// The values of a packed weight by column: include base/simd/<isa>.h first. A vector holds one
// column of the 16 rows of a tile.

namespace llmkit {
namespace {  // a copy per instruction set

/// What a group of columns has in common, for each row of a tile.
struct Scaling {
  Vec scale, offset;  // value = (code + offset) * scale
};

inline Vec load_scales(ScaleType type, const uint8_t* p) {
  if (type == ScaleType::kF32) return load(p);
  return type == ScaleType::kBf16 ? load_bf16(p) : load_f16(p);
}

/// The offset is `middle` minus the zero point, or 0 where there is none.
inline Scaling load_scaling(const PackedWeight& weight, const uint8_t* group, float middle) {
  const Scaling plain = {load_scales(weight.scale_type, group), zero()};
  if (!weight.has_zeros) return plain;
  const uint8_t* const zeros = group + packed_scale_bytes(weight.scale_type);
  return {plain.scale, sub(splat(middle), load_u8(zeros))};
}

struct FourBitLine {
  static constexpr size_t kCols = 8;
  Vec table;

  explicit FourBitLine(const PackedWeight& weight) {
    float values[16];
    for (int i = 0; i < 16; ++i) {
      const uint32_t bits = uint32_t{weight.values[i]} << 16;
      std::memcpy(values + i, &bits, sizeof bits);
      if (weight.compute == Compute::kInt8) values[i] = static_cast<float>(i - 8);
    }
    table = load(values);
  }
  static Scaling scaling(const PackedWeight& weight, const uint8_t* group) {
    return load_scaling(weight, group, 8);
  }
  template <int kCol>
  Vec value(Index line, const Scaling& s) const {
    const Vec code = lookup(table, shift_right<8 * (kCol % 4) + 4 * (kCol / 4)>(line));
    return mul(add(code, s.offset), s.scale);
  }
};

struct EightBitLine {
  static constexpr size_t kCols = 4;

  explicit EightBitLine(const PackedWeight&) {}
  static Scaling scaling(const PackedWeight& weight, const uint8_t* group) {
    Scaling s = load_scaling(weight, group, 0);
    if (!weight.has_zeros) s.offset = splat(-128);
    return s;
  }
  template <int kCol>
  Vec value(Index line, const Scaling& s) const {
    const Vec code = to_float(bit_and(shift_right<8 * kCol>(line), splat_int(255)));
    return mul(add(code, s.offset), s.scale);
  }
};

struct SixteenBitLine {
  static constexpr size_t kCols = 2;

  explicit SixteenBitLine(const PackedWeight&) {}
  static Scaling scaling(const PackedWeight&, const uint8_t*) { return {zero(), zero()}; }
  template <int kCol>
  Vec value(Index line, const Scaling&) const {
    if constexpr (kCol == 0) return as_float(shift_left<16>(line));
    return as_float(bit_and(line, splat_int(0xffff0000)));
  }
};

/// The lines of one group in a tile; null stands for a tile of zeros.
struct TileLines {
  const uint8_t* lines;
  Scaling scaling;
};

template <typename Line>
inline TileLines tile_lines(const PackedWeight& weight, size_t tile, size_t group) {
  const uint8_t* const start = weight.tile(tile) + group * weight.group_bytes;
  const size_t head = packed_scale_bytes(weight.scale_type) + (weight.has_zeros ? 16 : 0);
  return {start + head, Line::scaling(weight, start)};
}

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
