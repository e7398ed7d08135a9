#pragma once

#include <algorithm>

#include "cpu/packed/kernels.h"
#include "cpu/packed_bf16/panel.h"

// Many rows of x: columns of a few tiles are decoded into a panel in the second-level cache, and
// all rows are multiplied with it, a block of rows and tiles at a time in registers. Sums of the
// columns before wait in y.

namespace llmkit {
namespace {  // a copy per instruction set

/// Where a block of rows goes.
struct Block {
  const PackedWeight& weight;
  const PackedProductArgs& args;
  size_t tile;  // of the range
  bool last;    // no columns follow

  size_t rows_of(int t) const {
    return std::min<size_t>(16, weight.rows - (args.range.tile + tile + t) * 16);
  }
  float* y(size_t row, int t) const {
    return args.y + row * args.ldy + (tile + static_cast<size_t>(t)) * 16;
  }
  const float* bias(int t) const {
    return args.bias == nullptr ? nullptr : args.bias + (args.range.tile + tile + t) * 16;
  }
};

/// Neighbouring rows of x from some column on. Three share a pointer: one for each row, as the
/// compiler would have it, is more than there are registers.
template <int kRows>
class RowPointers {
 public:
  RowPointers(const PreparedRows& x, size_t row, size_t column) : stride_(x.stride) {
    const Value* const first = static_cast<const Value*>(x.values) + row * stride_ + column;
#pragma GCC unroll 4
    for (size_t i = 0; i < kPointers; ++i) {
      pointers_[i] = first + 3 * i * stride_;
      __asm__("" : "+r"(pointers_[i]));  // so that it does not see how they depend on each other
    }
  }
  const Value* row(int r) const { return pointers_[r / 3] + static_cast<size_t>(r % 3) * stride_; }
  void advance(size_t columns) {
#pragma GCC unroll 4
    for (size_t i = 0; i < kPointers; ++i) {
      pointers_[i] += columns;
      __asm__("" : "+r"(pointers_[i]));
    }
  }

 private:
  static constexpr size_t kPointers = (kRows + 2) / 3;
  const Value* pointers_[kPointers];
  size_t stride_;
};

/// s += the next `pairs` pairs of columns.
template <int kRows, int kTiles>
inline void multiply_pairs(const Value* (&w)[kTiles], size_t pairs, RowPointers<kRows>& x,
                           Vec (&s)[kRows][kTiles]) {
  for (; pairs > 0; --pairs) {
#pragma GCC unroll 2
    for (int part = 0; part < kColumnParts; ++part) {
      ColumnPart columns[kTiles];
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) columns[t] = load_part(w[t], part);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (int t = 0; t < kTiles; ++t)
          s[r][t] = multiply_add(columns[t], x.row(r), part, s[r][t]);
    }
    x.advance(2);
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) w[t] += kValuesOfPair;
  }
}

/// Results of a block: as many in registers as have room beside the sums of a group, the others in
/// memory.
template <int kRows, int kTiles>
class Results {
 public:
  explicit Results(Vec (&memory)[kRows][kTiles]) : memory_(memory) {
#pragma GCC unroll 32
    for (int i = 0; i < kHeld; ++i) held_[i] = memory[i / kTiles][i % kTiles];
  }
  void add_product(int r, int t, Vec a, Vec b) {
    const int i = r * kTiles + t;
    if (kHeld == kAll || i < kHeld) {
      held_[i] = fma(a, b, held_[i]);
    } else {
      memory_[r][t] = fma(a, b, memory_[r][t]);
      __asm__("" : "+m"(memory_[r][t]));  // or the compiler would hold it and put others aside
    }
  }
  void put_back() {
#pragma GCC unroll 32
    for (int i = 0; i < kHeld; ++i) memory_[i / kTiles][i % kTiles] = held_[i];
  }

 private:
  static constexpr int kAll = kRows * kTiles;
  static constexpr int kHeld = kRows < kCodedRows ? kAll : std::min(kAll, kHeldResults);
  Vec held_[kHeld];
  Vec (&memory_)[kRows][kTiles];
};

/// Each group has a sum of its own, which is scaled and added to the results. Not inline: all
/// registers are for this loop.
template <int kRows, int kTiles, bool kZeros>
[[gnu::noinline]] void multiply_groups(const PackedWeight& weight, const Panel& panel,
                                       const PreparedRows& x, size_t row,
                                       Vec (&memory)[kRows][kTiles]) {
  constexpr int kSums = kRows * kTiles;
  const size_t pairs = weight.group_stride / 2;
  const float* scales = panel.scales;
  const float* const last = scales + (panel.end - panel.begin) * kTiles * 16;
  const float* totals = kZeros ? x.totals + row * weight.groups + panel.begin : nullptr;
  RowPointers<kRows> rows(x, row, panel.begin * weight.group_stride);
  const Value* w[kTiles];
  std::copy_n(panel.tiles, kTiles, w);
  Results<kRows, kTiles> results(memory);
  for (; scales < last; scales += kTiles * 16) {
    Vec s[kRows][kTiles];
#pragma GCC unroll 32
    for (int j = 0; j < kSums; ++j) s[j / kTiles][j % kTiles] = zero();
    multiply_pairs(w, pairs, rows, s);
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      const Vec scale = load(scales + t * 16);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) results.add_product(r, t, s[r][t], scale);
      if constexpr (kZeros) {
        const Vec correction = load(scales - panel.scales + panel.corrections + t * 16);
        const float* total = totals;
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r, total += weight.groups) {
          __asm__("" : "+r"(total));  // as in RowPointers
          results.add_product(r, t, correction, splat(*total));
        }
      }
    }
    if constexpr (kZeros) ++totals;
  }
  results.put_back();
}

/// Panels of codes with groups, which have few tiles, that take a block of rows in turn, so that
/// rows come from afar once for both: where both stay near. One that stays in the first-level cache
/// is better alone.
constexpr size_t kMostPanels = 2;
template <PackedCode kCode, int kTiles>
size_t panels_at_once(const PackedWeight& weight) {
  const size_t bytes = weight.padded_cols() * kTiles * 16 * sizeof(Value);
  const bool both = bytes > kFirstLevelBytes && kMostPanels * bytes <= kPanelBytes / 3;
  return kCode != PackedCode::kSixteenBit && both ? kMostPanels : 1;
}

/// What follows a block, to be asked for meanwhile: rows of x from a column on, and a line of each
/// of some tiles for every line of those rows (null: none).
struct Ahead {
  size_t row, column;
  const uint8_t* tiles;
  size_t tile_bytes;
};
/// Columns of a line of a row of x, and the tile's lines that hold them.
constexpr size_t kLineColumns = 64 / sizeof(Value), kLinesOfColumns = kLineColumns / 2;

/// 16-bit codes: one sum over all columns. Rows of x lie pages apart, over which no processor reads
/// ahead by itself, and tiles come from memory.
template <int kRows, int kTiles>
inline void multiply_plain(const Panel& panel, const PreparedRows& x, size_t row,
                           const Ahead& ahead, Vec (&acc)[kRows][kTiles]) {
  const Value* w[kTiles];
  std::copy_n(panel.tiles, kTiles, w);
  RowPointers<kRows> rows(x, row, panel.begin);
  if constexpr (kTilesArePanels) {
    RowPointers<kRows> next(x, ahead.row, ahead.column);
    const uint8_t* tiles = ahead.tiles;
    for (size_t column = panel.begin; column < panel.end; column += kLineColumns) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) __builtin_prefetch(next.row(r), 0, 2);
      next.advance(kLineColumns);
      if (tiles != nullptr) {
#pragma GCC unroll 4
        for (int t = 0; t < kTiles; ++t) __builtin_prefetch(tiles + t * ahead.tile_bytes, 0, 2);
        tiles += 64;
      }
      multiply_pairs(w, kLineColumns / 2, rows, acc);
    }
  } else {
    multiply_pairs(w, (panel.end - panel.begin) / 2, rows, acc);
  }
}

/// kRows rows of x from `row` of the range times a panel. Not inline, as multiply_groups.
template <PackedCode kCode, int kRows, int kTiles>
[[gnu::noinline]] void multiply_block(const Panel& panel, const Block& block, size_t row,
                                      const Ahead& ahead) {
  const PreparedRows& x = block.args.x;
  const size_t first = block.args.range.first + row;
  Vec acc[kRows][kTiles];
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) {
    const size_t n = block.rows_of(t), ldy = block.args.ldy;
    const float* const y = block.y(row, t);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      acc[r][t] = panel.begin == 0 ? zero() : load_partial(y + r * ldy, n);
      __builtin_prefetch(y + (kRows + r) * ldy, 1);  // of the next block
    }
  }
  if constexpr (kCode == PackedCode::kSixteenBit) {
    multiply_plain(panel, x, first, ahead, acc);
  } else {
    constexpr bool kZeros = kRows <= kZeroRows;  // more rows are only for codes without
    const auto multiply = kZeros && block.weight.has_zeros ? multiply_groups<kRows, kTiles, kZeros>
                                                           : multiply_groups<kRows, kTiles, false>;
    multiply(block.weight, panel, x, first, acc);
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) {
    const size_t n = block.rows_of(t), ldy = block.args.ldy;
    float* const y = block.y(row, t);
    const float* const bias = block.bias(t);
    const Vec more = block.last && bias != nullptr ? load_partial(bias, n) : zero();
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      store_partial(y + r * ldy, block.last ? add(acc[r][t], more) : acc[r][t], n);
  }
}

/// `count` rows, fewer than kRows + 1.
template <PackedCode kCode, int kRows, int kTiles>
void multiply_some(const Panel& panel, const Block& block, size_t row, size_t count,
                   const Ahead& ahead) {
  if (count == kRows) return multiply_block<kCode, kRows, kTiles>(panel, block, row, ahead);
  if constexpr (kRows > 1) multiply_some<kCode, kRows - 1, kTiles>(panel, block, row, count, ahead);
}

/// Rows of a block. Where tiles are left over there are more, so that no sum waits for itself.
constexpr int rows_at_once(PackedCode code, int tiles) {
  if (code != PackedCode::kSixteenBit) return kCodedRows;
  return tiles == kPlainTiles || tiles > 2 ? kPlainRows : tiles == 2 ? 8 : 12;
}

/// All rows, a block of them times one panel after the other. The last two blocks share what is
/// left: a few rows alone take as long as more.
template <PackedCode kCode, int kTiles>
void multiply_rows(const Panel* panels, size_t panel_count, const Block& first_block,
                   const Ahead& next) {
  Block block = first_block;
  constexpr int kRows = rows_at_once(kCode, kTiles);
  const size_t most = block.weight.has_zeros ? std::min(kRows, kZeroRows) : kRows;
  const size_t count = block.args.range.count, first = block.args.range.first;
  const size_t tile_lines = (panels->end - panels->begin) / kLineColumns;  // a block asks for
  for (size_t row = 0, index = 0, taken; row < count; row += taken, ++index) {
    const size_t left = count - row;
    taken = left >= 2 * most ? most : left > most ? (left + 1) / 2 : left;
    Ahead ahead = next;
    if (left > taken) ahead.row = first + row + taken, ahead.column = panels->begin;
    if (index >= kLinesOfColumns) ahead.tiles = nullptr;  // all are asked for
    if (ahead.tiles != nullptr) ahead.tiles += index * tile_lines * 64;
    for (size_t i = 0; i < panel_count; ++i) {
      block.tile = first_block.tile + i * kTiles;
      multiply_some<kCode, kRows, kTiles>(panels[i], block, row, taken, ahead);
    }
  }
}

/// The columns or tiles that follow columns [.., end) of kTiles tiles, if any.
template <int kTiles>
Ahead after(const PackedWeight& weight, const PackedRange& range, size_t tile, size_t end) {
  const bool inside = end < weight.group_stride;
  if (!inside && tile + 2 * kTiles > weight.tiles) return {range.first, 0, nullptr, 0};
  const size_t column = inside ? end : 0;
  return {range.first, column, weight.tile(inside ? tile : tile + kTiles) + column * 32,
          weight.tile_bytes};
}

/// `count` times kTiles tiles from tile `t` of the range times all rows.
template <PackedCode kCode, int kTiles>
void many_tiles(const PackedWeight& weight, const PackedProductArgs& args, size_t t, size_t count) {
  constexpr bool kPlain = kCode == PackedCode::kSixteenBit;
  const size_t columns = kPlain ? 1 : weight.group_stride;
  const size_t most = kPlain ? kTileColumns<kTiles> : kPanelColumns<kTiles> / count;
  const size_t step = std::max<size_t>(most / columns, 1);
  const size_t all = kPlain ? weight.group_stride : weight.groups, tile = args.range.tile + t;
  for (size_t begin = 0; begin < all; begin += step) {
    const size_t end = std::min(begin + step, all);
    Panel panels[kMostPanels];
    Ahead next = {};
    if constexpr (kPlain) {
      panels[0] = sixteen_bit_columns<kTiles>(weight, tile, begin, end);
      next = after<kTiles>(weight, args.range, tile, end);
    } else {
      decode_groups<kCode, kTiles>(weight, tile, begin, end, count, panels);
    }
    multiply_rows<kCode, kTiles>(panels, count, {weight, args, t, end == all}, next);
  }
}

/// The last tiles of the range, from tile `t` on, fewer than kTiles + 1.
template <PackedCode kCode, int kTiles>
void many_rest(const PackedWeight& weight, const PackedProductArgs& args, size_t t) {
  if (args.range.tiles - t == kTiles) return many_tiles<kCode, kTiles>(weight, args, t, 1);
  if constexpr (kTiles > 1) many_rest<kCode, kTiles - 1>(weight, args, t);
}

template <PackedCode kCode, int kTiles>
void many_of(const PackedWeight& weight, const PackedProductArgs& args) {
  const size_t most = panels_at_once<kCode, kTiles>(weight);
  size_t t = 0, count;
  for (; t + kTiles <= args.range.tiles; t += count * kTiles) {
    count = std::min(most, (args.range.tiles - t) / kTiles);
    many_tiles<kCode, kTiles>(weight, args, t, count);
  }
  if constexpr (kTiles > 1) many_rest<kCode, kTiles - 1>(weight, args, t);
}

void many(const PackedWeight& weight, const PackedProductArgs& args) {
  if (weight.cols == 0) return few(weight, args);
  if (weight.code == PackedCode::kFourBit)
    return many_of<PackedCode::kFourBit, kCodedTiles>(weight, args);
  if (weight.code == PackedCode::kEightBit)
    return many_of<PackedCode::kEightBit, kCodedTiles>(weight, args);
  many_of<PackedCode::kSixteenBit, kPlainTiles>(weight, args);
}

}  // namespace
}  // namespace llmkit
