#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/bf16.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/packed/layout.h"
#include "cpu/packed/packed.h"
#include "cpu/weight/weight.h"

namespace llmkit {
namespace {

constexpr size_t kTileRows = 16, kMostColumns = 128, kLineBytes = 64;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// Columns of a packed group; 0 when the groups of the stored weight cannot be kept: they do not
/// begin at rows, are tiny, or cannot be cut into even pieces of a sensible size.
size_t packed_group(const WeightView& view) {
  const size_t stored = view.group_size;
  if (stored == 0 || view.cols % stored != 0) return 0;
  if (stored <= kMostColumns) return stored < 8 ? 0 : stored;
  if (stored == view.cols) return kMostColumns;
  size_t piece = kMostColumns;
  while (stored % piece != 0) --piece;
  return piece < 32 ? 0 : piece;
}

float scale_of(const WeightView& view, size_t group) {
  const NestedScales& nested = view.nested;
  if (nested.codes == nullptr) return view.scales[group];
  const float scaled = nested.map[nested.codes[group]] * nested.absmax[group / nested.block_size];
  return scaled + nested.offset;
}

bool is_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits & 0xffffu) == 0;
}

/// The half with this value, or -1 when none has it.
int exact_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const int exponent = static_cast<int>(bits >> 23 & 255u) - 127;
  const uint32_t fraction = bits & 0x7fffffu;
  if ((bits & 0x7fffffffu) == 0) return static_cast<int>(sign);
  if (exponent < -24 || exponent > 15) return -1;
  if (exponent >= -14) {
    if ((fraction & 0x1fffu) != 0) return -1;
    return static_cast<int>(sign | static_cast<uint32_t>(exponent + 15) << 10 | fraction >> 13);
  }
  const int shift = -1 - exponent;  // subnormal: whole multiples of 2^-24
  const uint32_t mantissa = fraction | 0x800000u;
  if ((mantissa & ((1u << shift) - 1)) != 0) return -1;
  return static_cast<int>(sign | mantissa >> shift);
}

/// 16 bits where they lose nothing.
ScaleType scale_type_of(const WeightView& view) {
  std::atomic<bool> all_bf16{true}, all_f16{true};
  const size_t count = divide_up(view.rows * view.cols, view.group_size);
  parallel_elements(count, 4, [&](size_t begin, size_t end) {
    bool bf16 = true, f16 = true;
    for (size_t g = begin; g < end && (bf16 || f16); ++g) {
      const float scale = scale_of(view, g);
      bf16 = bf16 && is_bf16(scale);
      f16 = f16 && exact_half(scale) >= 0;
    }
    if (!bf16) all_bf16 = false;
    if (!f16) all_f16 = false;
  });
  return all_bf16 ? ScaleType::kBf16 : all_f16 ? ScaleType::kF16 : ScaleType::kF32;
}

/// All of a PackedWeight but its data.
PackedWeight plan(const WeightView& view, Compute compute) {
  PackedForm form;
  form.format = view.format;
  form.rows = view.rows;
  form.cols = view.cols;
  form.group = packed_group(view);
  if (form.group > 0) {
    const bool integers = view.format == WeightFormat::kInt8 || view.format == WeightFormat::kInt4;
    if (integers) form.compute = compute;
    form.scale_type = scale_type_of(view);
    form.has_zeros = view.zeros != nullptr && integers;
  }
  return *packed_layout(form);
}

/// Eight nibbles, column j in bits 4j, to the order of a line: byte j is columns j and 4 + j.
uint32_t pair_nibbles(uint32_t x) {
  const auto spread = [](uint32_t half) {  // 4 nibbles to 4 bytes
    half = (half | half << 8) & 0x00ff00ffu;
    return (half | half << 4) & 0x0f0f0f0fu;
  };
  return spread(x & 0xffffu) | spread(x >> 16) << 4;
}

uint32_t swap_nibbles(uint32_t x) { return (x & 0x0f0f0f0fu) << 4 | (x >> 4 & 0x0f0f0f0fu); }

/// The dword of a line of up to 8 4-bit codes from any element of the weight on.
uint32_t four_bit_dword(const WeightView& view, size_t element, size_t count) {
  const bool low_first = view.format == WeightFormat::kInt4;
  uint32_t nibbles = 0;
  for (size_t j = 0; j < count; ++j) {
    const size_t i = element + j;
    const uint32_t code = view.codes[i / 2] >> ((i % 2 == 0) == low_first ? 0 : 4) & 15u;
    nibbles |= code << 4 * j;
  }
  return pair_nibbles(nibbles);
}

/// 4-bit codes [element, element + count) into the dwords of a row, a line apart.
template <bool kLowFirst>
void pack_four_bit(const WeightView& view, size_t element, size_t count, uint8_t* line) {
  size_t k = 0;
  if (element % 2 == 0)
    for (const uint8_t* p = view.codes + element / 2; k + 8 <= count; k += 8, p += 4) {
      uint32_t nibbles;
      std::memcpy(&nibbles, p, sizeof nibbles);
      nibbles = pair_nibbles(kLowFirst ? nibbles : swap_nibbles(nibbles));
      std::memcpy(line, &nibbles, sizeof nibbles);
      line += kLineBytes;
    }
  for (; k < count; k += 8, line += kLineBytes) {
    const uint32_t dword = four_bit_dword(view, element + k, std::min<size_t>(count - k, 8));
    std::memcpy(line, &dword, sizeof dword);
  }
}

void pack_eight_bit(const WeightView& view, size_t element, size_t count, uint8_t* line) {
  for (size_t k = 0; k < count; k += 4, line += kLineBytes)
    std::memcpy(line, view.codes + element + k, std::min<size_t>(count - k, 4));
}

void pack_scale(ScaleType type, float scale, size_t row, uint8_t* scales) {
  if (type == ScaleType::kF32) return std::memcpy(scales + 4 * row, &scale, 4), void();
  const uint16_t half =
      type == ScaleType::kBf16 ? to_bf16(scale) : static_cast<uint16_t>(exact_half(scale));
  std::memcpy(scales + 2 * row, &half, sizeof half);
}

/// A group of row r of a tile: its scale, its zero point and the dwords of its lines.
void pack_group(const WeightView& view, const PackedWeight& w, size_t element, size_t count,
                size_t r, uint8_t* group) {
  const size_t stored = element / view.group_size;
  pack_scale(w.scale_type, scale_of(view, stored), r, group);
  uint8_t* lines = group + packed_scale_bytes(w.scale_type);
  if (w.has_zeros) {
    lines[r] = view.zeros[stored];
    lines += kTileRows;
  }
  lines += 4 * r;
  if (w.code == PackedCode::kEightBit) return pack_eight_bit(view, element, count, lines);
  view.format == WeightFormat::kInt4 ? pack_four_bit<true>(view, element, count, lines)
                                     : pack_four_bit<false>(view, element, count, lines);
}

void pack_grouped_tile(const WeightView& view, const PackedWeight& w, size_t tile) {
  const size_t first = tile * kTileRows, rows = std::min(kTileRows, w.rows - first);
  uint8_t* group = w.memory.bytes() + tile * w.tile_bytes;
  for (size_t k = 0; k < w.cols; k += w.group, group += w.group_bytes)
    for (size_t r = 0; r < rows; ++r)
      pack_group(view, w, (first + r) * w.cols + k, std::min(w.group, w.cols - k), r, group);
}

void pack_bf16_row(const WeightView& view, const PackedWeight& w, size_t tile, size_t r) {
  const size_t first = (tile * kTileRows + r) * w.cols;
  uint8_t* line = w.memory.bytes() + tile * w.tile_bytes + 4 * r;
  const bool exact = view.format == WeightFormat::kBf16;
  float* const values = scratch(Scratch::kDecoded, w.cols);
  if (!exact) weight_f32().decode(view, first, w.cols, values);
  for (size_t k = 0; k < w.cols; k += 2, line += kLineBytes) {
    const size_t count = std::min<size_t>(w.cols - k, 2);
    uint16_t pair[2] = {0, 0};
    if (exact)
      std::memcpy(pair, view.codes + 2 * (first + k), 2 * count);
    else
      for (size_t j = 0; j < count; ++j) pair[j] = to_bf16(values[k + j]);
    std::memcpy(line, pair, sizeof pair);
  }
}

void pack_bf16_tile(const WeightView& view, const PackedWeight& w, size_t tile) {
  const size_t rows = std::min(kTileRows, w.rows - tile * kTileRows);
  for (size_t r = 0; r < rows; ++r) pack_bf16_row(view, w, tile, r);
}

/// Bytes of codes before an element, of whole bytes.
size_t code_bytes(WeightFormat format, size_t elements) {
  constexpr size_t kBits[] = {32, 16, 16, 8, 4, 4, 4};
  return elements * kBits[static_cast<size_t>(format)] / 8;
}

}  // namespace

PackedWeight pack_weight(const WeightView& view, Compute compute) {
  PackedWeight w = plan(view, compute);
  w.memory = HugeBuffer(w.size_bytes());
  w.data = w.memory.bytes();
  if (w.data == nullptr) return w;
  const auto pack_tile = w.code == PackedCode::kSixteenBit ? pack_bf16_tile : pack_grouped_tile;
  parallel_for(w.tiles, grain_for(w.tile_bytes), [&](size_t begin, size_t end) {
    const size_t last = std::min(end * kTileRows, w.rows);
    for (size_t tile = begin; tile < end; ++tile) pack_tile(view, w, tile);
    const size_t skip = code_bytes(view.format, begin * kTileRows * w.cols);
    release_file_pages(view.codes + skip, code_bytes(view.format, last * w.cols) - skip);
  });
  return w;
}

}  // namespace llmkit
