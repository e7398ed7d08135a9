#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/bf16.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/packed/layout.h"
#include "cpu/packed/nibbles.h"
#include "cpu/packed/packed.h"
#include "cpu/packed/quads.h"
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

/// Whether a test holds for all scales.
template <typename Test>
bool all_scales(const WeightView& view, const Test& holds) {
  std::atomic<bool> all{true};
  const size_t count = divide_up(view.rows * view.cols, view.group_size);
  parallel_elements(count, 4, [&](size_t begin, size_t end) {
    bool some = false;
    for (size_t g = begin; g < end; ++g) some |= !holds(scale_of(view, g));
    if (some) all = false;
  });
  return all;
}

/// 16 bits where they lose nothing.
ScaleType scale_type_of(const WeightView& view) {
  const auto is_short = [](float scale) { return is_bf16(scale); };
  if (all_scales(view, is_short)) return ScaleType::kBf16;
  const auto is_half = [](float scale) { return exact_half(scale) >= 0; };
  return all_scales(view, is_half) ? ScaleType::kF16 : ScaleType::kF32;
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
    if (integers || compute != Compute::kInt8) form.compute = compute;
    form.scale_type = scale_type_of(view);
    form.has_zeros = view.zeros != nullptr && integers;
  }
  return *packed_layout(form);
}

/// The dword of a line of up to 8 4-bit codes from any element of the weight on.
uint32_t four_bit_dword(const WeightView& view, size_t element, size_t count) {
  const bool low_first = view.format == WeightFormat::kInt4;
  uint32_t nibbles = 0;
  for (size_t j = 0; j < count; ++j) {
    const size_t i = element + j;
    const uint32_t code = view.codes[i / 2] >> ((i % 2 == 0) == low_first ? 0 : 4) & 15u;
    nibbles |= code << 4 * j;
  }
  return static_cast<uint32_t>(pair_nibbles(nibbles));
}

/// A group of a tile: where it begins in its first row, and how many columns and rows it has.
struct Piece {
  size_t element, cols, rows;
};

/// Lines of whole dwords as they are stored, a row every `stride` bytes; `order` changes the order
/// of bits within each of two dwords. Rows are taken in pairs, in registers: lines made of dwords
/// in memory would be read again before those are written.
template <typename Order>
void pack_lines(const uint8_t* codes, size_t stride, size_t rows, size_t lines, uint8_t* out,
                const Order& order) {
  const auto dword = [](const uint8_t* p) {
    uint32_t value;
    std::memcpy(&value, p, sizeof value);
    return uint64_t{value};
  };
  for (size_t line = 0; line < lines; ++line, codes += 4, out += kLineBytes) {
    size_t r = 0;
    for (; r + 2 <= rows; r += 2) {
      const uint8_t* const row = codes + r * stride;
      const uint64_t pair = order(dword(row) | dword(row + stride) << 32);
      std::memcpy(out + 4 * r, &pair, sizeof pair);
    }
    if (r == rows) continue;
    const auto last = static_cast<uint32_t>(order(dword(codes + r * stride)));
    std::memcpy(out + 4 * r, &last, sizeof last);
  }
}

void pack_four_bit(const WeightView& view, const Piece& piece, uint8_t* lines) {
  const bool low_is_first = view.format == WeightFormat::kInt4;
  size_t k = 0;
  if (piece.element % 2 == 0 && view.cols % 2 == 0) {  // rows begin at whole bytes
    const uint8_t* codes = view.codes + piece.element / 2;
    const size_t stride = view.cols / 2;
    if (piece.rows == kTileRows)
      for (; k + 32 <= piece.cols; k += 32, codes += 16, lines += 4 * kLineBytes)
        for (size_t r = 0; r < kTileRows; r += 4)
          pack_quads(codes + r * stride, stride, low_is_first, lines + 4 * r, kLineBytes);
    const size_t whole = (piece.cols - k) / 8;
    const auto low_first = [](uint64_t x) { return pair_nibbles(x); };
    const auto high_first = [](uint64_t x) { return pair_nibbles(swap_nibbles(x)); };
    low_is_first ? pack_lines(codes, stride, piece.rows, whole, lines, low_first)
                 : pack_lines(codes, stride, piece.rows, whole, lines, high_first);
    k += whole * 8;
    lines += whole * kLineBytes;
  }
  for (; k < piece.cols; k += 8, lines += kLineBytes)
    for (size_t r = 0; r < piece.rows; ++r) {
      const size_t count = std::min<size_t>(piece.cols - k, 8);
      const uint32_t dword = four_bit_dword(view, piece.element + r * view.cols + k, count);
      std::memcpy(lines + 4 * r, &dword, sizeof dword);
    }
}

/// Values of 8 or 16 bits, in the order in which they are stored.
void pack_whole_bytes(const WeightView& view, const Piece& piece, size_t value_bytes,
                      uint8_t* lines) {
  const uint8_t* const codes = view.codes + piece.element * value_bytes;
  const size_t stride = view.cols * value_bytes, bytes = piece.cols * value_bytes;
  const size_t whole = bytes / 4;
  pack_lines(codes, stride, piece.rows, whole, lines, [](uint64_t x) { return x; });
  for (size_t r = 0; r < piece.rows; ++r)
    std::memcpy(lines + whole * kLineBytes + 4 * r, codes + r * stride + 4 * whole, bytes % 4);
}

/// The scales of a group of `rows` rows, `per_row` apart from the stored one `first` on.
void pack_scales(const WeightView& view, ScaleType type, size_t first, size_t per_row, size_t rows,
                 uint8_t* scales) {
  const auto pack = [&](const auto& stored) {
    for (size_t r = 0; r < rows; ++r) {
      const auto value = stored(scale_of(view, first + r * per_row));
      std::memcpy(scales + r * sizeof value, &value, sizeof value);
    }
  };
  if (type == ScaleType::kF32) return pack([](float scale) { return scale; });
  if (type == ScaleType::kBf16) return pack([](float scale) { return to_bf16(scale); });
  pack([](float scale) { return static_cast<uint16_t>(exact_half(scale)); });
}

/// A group of a tile: its scales, its zero points and its lines.
void pack_group(const WeightView& view, const PackedWeight& w, const Piece& piece, uint8_t* group) {
  const size_t stored = piece.element / view.group_size, per_row = view.cols / view.group_size;
  uint8_t* lines = group + packed_scale_bytes(w.scale_type);
  pack_scales(view, w.scale_type, stored, per_row, piece.rows, group);
  if (w.has_zeros) {
    for (size_t r = 0; r < piece.rows; ++r) lines[r] = view.zeros[stored + r * per_row];
    lines += kTileRows;
  }
  if (w.code == PackedCode::kEightBit) return pack_whole_bytes(view, piece, 1, lines);
  pack_four_bit(view, piece, lines);
}

void pack_grouped_tile(const WeightView& view, const PackedWeight& w, size_t tile) {
  const size_t first = tile * kTileRows, rows = std::min(kTileRows, w.rows - first);
  uint8_t* group = w.memory.bytes() + tile * w.tile_bytes;
  for (size_t k = 0; k < w.cols; k += w.group, group += w.group_bytes)
    pack_group(view, w, {first * w.cols + k, std::min(w.group, w.cols - k), rows}, group);
}

/// A row in bf16, rounded from what it is stored in.
void pack_rounded_row(const WeightView& view, const PackedWeight& w, size_t tile, size_t r) {
  float* const values = scratch(Scratch::kDecoded, w.cols);
  weight_f32().decode(view, (tile * kTileRows + r) * w.cols, w.cols, values);
  uint8_t* line = w.memory.bytes() + tile * w.tile_bytes + 4 * r;
  for (size_t k = 0; k < w.cols; k += 2, line += kLineBytes) {
    const size_t count = std::min<size_t>(w.cols - k, 2);
    uint16_t pair[2] = {0, 0};
    for (size_t j = 0; j < count; ++j) pair[j] = to_bf16(values[k + j]);
    std::memcpy(line, pair, sizeof pair);
  }
}

void pack_bf16_tile(const WeightView& view, const PackedWeight& w, size_t tile) {
  const size_t first = tile * kTileRows, rows = std::min(kTileRows, w.rows - first);
  uint8_t* const lines = w.memory.bytes() + tile * w.tile_bytes;
  if (view.format == WeightFormat::kBf16)
    return pack_whole_bytes(view, {first * w.cols, w.cols, rows}, 2, lines);
  for (size_t r = 0; r < rows; ++r) pack_rounded_row(view, w, tile, r);
}

/// Bytes of codes before an element, of whole bytes.
size_t code_bytes(WeightFormat format, size_t elements) {
  constexpr size_t kBits[] = {32, 16, 16, 8, 4, 4, 4};
  return elements * kBits[static_cast<size_t>(format)] / 8;
}

/// The same of its scales and zero points.
void release_scale_pages(const WeightView& view) {
  if (view.group_size == 0) return;
  const size_t groups = divide_up(view.rows * view.cols, view.group_size);
  if (view.scales != nullptr) release_file_pages(view.scales, groups * sizeof(float));
  if (view.nested.codes != nullptr) release_file_pages(view.nested.codes, groups);
  if (view.zeros != nullptr) release_file_pages(view.zeros, groups);
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
  release_scale_pages(view);
  return w;
}

}  // namespace llmkit
