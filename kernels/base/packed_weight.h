#pragma once

#include <cstddef>
#include <cstdint>

#include "base/huge_buffer.h"
#include "base/weight_view.h"

namespace llmkit {

/// The arithmetic of a product with a frozen weight (docs/performance.md).
///   kF32   float32 from the stored bytes: no packed form.
///   kBf16  x rounded to bf16; codes as bf16 values, scales in float32.
///   kInt8  x rounded to int8 per row and group; int32 sums, scales in float32.
///   kBf16Dequantized  x rounded to bf16, code * scale rounded to bf16: the product of bf16 with
///          the weight that gradients see (cpu/packed_dequantized).
enum class Compute : uint8_t { kF32, kBf16, kInt8, kBf16Dequantized };

/// What a packed line holds of its 16 rows.
///   kFourBit     8 columns: byte j of dword r is column j in the low nibble, column 4 + j in the high
///   kEightBit    4 columns: byte j of dword r is column j
///   kSixteenBit  2 columns: word j of dword r is column j, a bf16 value
enum class PackedCode : uint8_t { kFourBit, kEightBit, kSixteenBit };

enum class ScaleType : uint8_t { kNone, kF32, kBf16, kF16 };

/// A [rows, cols] weight in the one layout that every product with it reads: forward for one row or
/// many, gradient. Tiles of 16 rows, each contiguous: its groups of columns in ascending order, a
/// group being
///   16 scales (none for kSixteenBit) | 16 zero points, uint8 (only where there are) | lines of 64 bytes
/// A line holds the same few columns of all 16 rows, row r in dword r. A stored group of more than
/// 128 columns, or of a whole row, is cut into groups of 128 with the same scale. Rows past the end
/// have scale 0 and values 0; columns past the end of a group are padding up to group_stride, and
/// the rows of x have zeros there.
struct PackedWeight {
  Compute compute = Compute::kBf16;
  PackedCode code = PackedCode::kFourBit;
  ScaleType scale_type = ScaleType::kNone;
  bool has_zeros = false;      // else 8 (int4), 128 (int8): part of values
  size_t rows = 0, cols = 0;
  size_t tiles = 0;            // ceil(rows / 16)
  size_t first_tile = 0;       // data has those from here on, where it is not the whole weight
  size_t groups = 0;           // of a row
  size_t group = 0;            // columns of a group (the last of a row may have fewer)
  size_t group_stride = 0;     // the same rounded up to whole lines; kSixteenBit: cols up to 32s
  size_t group_bytes = 0;      // of one group of a tile, scales and zero points included
  size_t tile_bytes = 0;
  /// kFourBit: the value of each code in bf16 bits; with zero points it is code - 8 and the product
  /// adds (8 - zero) * scale * (sum of x over the group). Unused by kInt8, which works on the codes.
  uint16_t values[16] = {};
  /// kFourBit: what gradients and kBf16Dequantized multiply by a scale: the same values, for
  /// kBf16Dequantized before they are rounded.
  float decoded[16] = {};
  const uint8_t* data = nullptr;  // tiles * tile_bytes, aligned to 64 bytes
  HugeBuffer memory;              // where data is, unless that is in someone else's

  const uint8_t* tile(size_t index) const { return data + (index - first_tile) * tile_bytes; }
  size_t size_bytes() const { return (tiles - first_tile) * tile_bytes; }
  /// Columns of a prepared row of x: groups * group_stride.
  size_t padded_cols() const { return groups * group_stride; }
};

/// Bytes of the scales and zero points before the lines of a group.
inline size_t packed_scale_bytes(ScaleType type) {
  return type == ScaleType::kNone ? 0 : type == ScaleType::kF32 ? 64 : 32;
}

}  // namespace llmkit
