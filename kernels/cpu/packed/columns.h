#pragma once

#include "base/packed_weight.h"

// The values of a packed weight by column, code * scale in float32: include base/simd/<isa>.h
// first. A vector holds one column of the 16 rows of a tile.

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

  explicit FourBitLine(const PackedWeight& weight) : table(load(weight.decoded)) {}
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

}  // namespace
}  // namespace llmkit
