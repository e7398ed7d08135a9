#pragma once

#include <type_traits>

#include "base/scratch.h"
#include "cpu/packed_bf16/decode.h"

namespace llmkit {
namespace {  // a copy per instruction set

/// Whether packed lines of 16-bit codes are the panel: where x is bf16 too.
constexpr bool kTilesArePanels = std::is_same_v<Value, uint16_t>;
/// Columns of a panel of kTiles tiles, at most (but one group at least).
template <int kTiles>
constexpr size_t kPanelColumns = kPanelBytes / (kTiles * 16 * sizeof(Value));
/// The same of such lines, whole ones of a row of x: the next panel has room beside this one in the
/// second-level cache.
template <int kTiles>
constexpr size_t kTileColumns = kPanelColumns<kTiles> / (kTilesArePanels ? 3 : 1) / 32 * 32;
/// Of 16 rows of two columns.
constexpr size_t kValuesOfPair = 32;

/// Groups [begin, end) of a few neighbouring tiles, decoded; columns [begin, end) of 16-bit codes.
struct Panel {
  size_t begin, end;
  const Value* tiles[4];  // each pair by pair: 16 rows of two columns
  const float* scales;    // [group][tile][16]
  const float* corrections;
};

/// Decodes `lines` lines; returns where the next pair goes.
template <PackedCode kCode>
inline Value* decode_lines(const uint8_t* p, size_t lines, const Table& table, Value* out) {
  constexpr int kPairs = pairs_of(kCode);
  for (size_t line = 0; line < lines; ++line) {
    Columns w[kPairs];
    decode<kCode>(p + line * 64, table, w);
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i, out += kValuesOfPair) store_columns(out, w[i]);
  }
  return out;
}

/// Groups [begin, end) of `count` times kTiles tiles from `tile` on.
template <PackedCode kCode, int kTiles>
void decode_groups(const PackedWeight& weight, size_t tile, size_t begin, size_t end, size_t count,
                   Panel* panels) {
  const Table table = table_of(weight.values);
  const size_t factors = (end - begin) * kTiles * 16;
  const size_t values = factors * weight.group_stride * sizeof(Value) / sizeof(float);
  float* next = scratch(Scratch::kPanel, count * (2 * factors + values));
  for (size_t i = 0; i < count; ++i, tile += kTiles) {
    float* const scales = next;
    float* const corrections = scales + factors;
    Value* out = reinterpret_cast<Value*>(corrections + factors);
    next = corrections + factors + values;
    Panel& panel = panels[i] = {begin, end, {}, scales, corrections};
    for (size_t t = 0; t < kTiles; ++t) {
      panel.tiles[t] = out;
      for (size_t g = begin; g < end; ++g) {
        const uint8_t* const group = weight.tile(tile + t) + g * weight.group_bytes;
        const size_t at = ((g - begin) * kTiles + t) * 16;
        const Vec scale = group_scales(weight, group);
        store(scales + at, scale);
        if (weight.has_zeros) store(corrections + at, group_corrections(weight, group, scale));
        out = decode_lines<kCode>(group + lines_offset(weight), lines_of_group(weight), table, out);
      }
    }
  }
}

/// Columns [begin, end) of kTiles tiles of 16-bit codes from `tile` on.
template <int kTiles>
Panel sixteen_bit_columns(const PackedWeight& weight, size_t tile, size_t begin, size_t end) {
  Panel panel = {begin, end, {}, nullptr, nullptr};
  const size_t values = (end - begin) * 16;
  for (size_t t = 0; t < kTiles; ++t) {
    const uint8_t* const lines = weight.tile(tile + t) + begin / 2 * 64;
    if constexpr (kTilesArePanels) {
      panel.tiles[t] = reinterpret_cast<const Value*>(lines);
    } else {
      Value* const all = reinterpret_cast<Value*>(scratch(Scratch::kPanel, kTiles * values));
      Value* const out = all + t * values;
      decode_lines<PackedCode::kSixteenBit>(lines, (end - begin) / 2, table_of(weight.values), out);
      panel.tiles[t] = out;
    }
  }
  return panel;
}

}  // namespace
}  // namespace llmkit
