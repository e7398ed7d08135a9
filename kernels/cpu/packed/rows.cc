#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/packed/nibbles.h"
#include "cpu/packed/packed.h"
#include "cpu/weight/weight.h"

namespace llmkit {
namespace {

constexpr size_t kTileRows = 16, kLineBytes = 64, kDwordBytes = 4;

/// The scale of row r of a tile's group.
float scale_at(ScaleType type, const uint8_t* scales, size_t r) {
  WeightView view;
  view.format = type == ScaleType::kF32    ? WeightFormat::kF32
                : type == ScaleType::kBf16 ? WeightFormat::kBf16
                                           : WeightFormat::kF16;
  view.codes = scales + r * packed_scale_bytes(type) / kTileRows;
  float scale;
  weight_f32().decode(view, 0, 1, &scale);
  return scale;
}

/// Row r of some lines, its codes in the order in which they were stored.
void stored_codes(const uint8_t* lines, size_t count, WeightFormat stored, size_t r,
                  uint8_t* codes) {
  const bool four_bit =
      stored == WeightFormat::kInt4 || stored == WeightFormat::kNf4 || stored == WeightFormat::kFp4;
  for (size_t line = 0; line < count; ++line, codes += kDwordBytes) {
    uint32_t dword;
    std::memcpy(&dword, lines + line * kLineBytes + r * kDwordBytes, sizeof dword);
    uint64_t order = dword;
    if (four_bit) order = unpair_nibbles(order);
    if (four_bit && stored != WeightFormat::kInt4) order = swap_nibbles(order);
    dword = static_cast<uint32_t>(order);
    std::memcpy(codes, &dword, sizeof dword);
  }
}

/// One row, group by group: as it was stored, and from there as any stored weight.
void decode_row(const PackedWeight& w, WeightFormat stored, size_t row, float* y) {
  const size_t r = row % kTileRows, scale_bytes = packed_scale_bytes(w.scale_type);
  const size_t before = scale_bytes + (w.has_zeros ? kTileRows : 0);
  const size_t lines = (w.group_bytes - before) / kLineBytes;
  auto* const codes = reinterpret_cast<uint8_t*>(scratch(Scratch::kDecoded, lines));
  const uint8_t* group = w.tile(row / kTileRows);
  for (size_t col = 0; col < w.cols; col += w.group, group += w.group_bytes) {
    float scale;
    WeightView view;
    view.format = stored;
    view.codes = codes;
    if (w.scale_type != ScaleType::kNone) {
      scale = scale_at(w.scale_type, group, r);
      view.group_size = w.group;
      view.scales = &scale;
      if (w.has_zeros) view.zeros = group + scale_bytes + r;
    }
    stored_codes(group + before, lines, stored, r, codes);
    weight_f32().decode(view, 0, std::min(w.group, w.cols - col), y + col);
  }
}

}  // namespace

bool keeps_values(const PackedWeight& weight, WeightFormat stored) {
  return weight.code != PackedCode::kSixteenBit || stored == WeightFormat::kBf16;
}

void packed_rows(const PackedWeight& weight, WeightFormat stored, size_t count, const int32_t* ids,
                 float* y) {
  parallel_for(count, grain_for(kTileRows * weight.cols), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      decode_row(weight, stored, static_cast<size_t>(ids[i]), y + i * weight.cols);
  });
}

}  // namespace llmkit
