#pragma once

#include <algorithm>
#include <cstring>

#include "base/simd/bf16.h"
#include "cpu/packed/columns.h"
#include "cpu/packed_dequantized/packed_dequantized.h"

// Include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

constexpr size_t kLineBytes = 64;

/// Takes the columns of a tile in their order and writes lines of two.
class LineWriter {
 public:
  explicit LineWriter(uint8_t* line) : line_(line) {}

  bool begins_line() const { return !half_; }
  void put_pair(Vec even, Vec odd) {
    store_rounded_line(line_, even, odd);
    line_ += kLineBytes;
  }
  void put(Vec column) {
    if (half_)
      put_pair(even_, column);
    else
      even_ = column;
    half_ = !half_;
  }
  /// Zeros up to `end`.
  void finish(uint8_t* end) {
    if (half_) put(zero());
    std::memset(line_, 0, static_cast<size_t>(end - line_));
  }

 private:
  uint8_t* line_;
  Vec even_ = zero();
  bool half_ = false;
};

template <int kCol, typename Line>
inline void put_pairs(const Line& line, Index codes, const Scaling& scaling, LineWriter& out) {
  if constexpr (kCol < static_cast<int>(Line::kCols)) {
    out.put_pair(line.template value<kCol>(codes, scaling),
                 line.template value<kCol + 1>(codes, scaling));
    put_pairs<kCol + 2>(line, codes, scaling, out);
  }
}

/// Columns [first, last) of a line, one by one.
template <int kCol, typename Line>
inline void put_columns(const Line& line, Index codes, const Scaling& scaling, size_t first,
                        size_t last, LineWriter& out) {
  if constexpr (kCol < static_cast<int>(Line::kCols)) {
    if (kCol >= first && kCol < last) out.put(line.template value<kCol>(codes, scaling));
    put_columns<kCol + 1>(line, codes, scaling, first, last, out);
  }
}

/// Columns [first, last) of a group.
template <typename Line>
inline void put_group(const Line& line, const TileLines& group, size_t first, size_t last,
                      LineWriter& out) {
  const auto codes_at = [&](size_t col) {
    return as_int(load(group.lines + col / Line::kCols * kLineBytes));
  };
  size_t col = first;
  if (col % Line::kCols == 0 && out.begins_line())
    for (; col + Line::kCols <= last; col += Line::kCols)
      put_pairs<0>(line, codes_at(col), group.scaling, out);
  for (size_t next; col < last; col = next) {
    const size_t begin = col / Line::kCols * Line::kCols;
    next = std::min(begin + Line::kCols, last);
    put_columns<0>(line, codes_at(col), group.scaling, col - begin, next - begin, out);
  }
}

template <typename Line>
inline void dequantize_all(const PackedWeight& weight, const DequantizeArgs& p) {
  const Line line(weight);
  const size_t end = std::min(p.col + p.cols, weight.cols);
  uint8_t* lines = p.out;
  for (size_t i = 0; i < p.count; ++i, lines += p.tile_bytes) {
    LineWriter out(lines);
    for (size_t col = p.col; col < end;) {
      const size_t g = col / weight.group, from = g * weight.group;
      const size_t last = std::min(weight.group, end - from);
      put_group(line, tile_lines<Line>(weight, p.tile + i, g), col - from, last, out);
      col = from + last;
    }
    out.finish(lines + p.cols / 2 * kLineBytes);
  }
}

inline void dequantize(const PackedWeight& weight, const DequantizeArgs& p) {
  if (weight.code == PackedCode::kFourBit)
    dequantize_all<FourBitLine>(weight, p);
  else
    dequantize_all<EightBitLine>(weight, p);
}

}  // namespace
}  // namespace llmkit
