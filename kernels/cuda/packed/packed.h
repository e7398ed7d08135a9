#pragma once

#include "base/packed_weight.h"
#include "base/weight_view.h"
#include "cuda/packed/layout.h"
#include "cuda/warpgroups/warpgroups.h"

namespace llmkit::cuda {

/// A frozen [rows, cols] weight in the one layout that all bf16 products read (layout.h), in device
/// memory. A value is the code's, exact in bf16 (nf4, fp4: rounded to it), times a float32 scale.
/// Rows and columns of the padding have finite values, rows scales of 0 as well; x has zeros in the
/// columns of the padding.
struct PackedWeight {
  PackedCode code = PackedCode::kBf16;
  ScaleType scale_type = ScaleType::kNone;  // kNone for kBf16; nested scales are kept as kF32
  bool has_zeros = false;
  size_t rows = 0, cols = 0;
  /// Columns that share a scale: 32, 64 or 128. A larger stored group is cut, with the same scale.
  int group = 64;
  uint16_t values[16] = {};        // kTable: each code's value, bf16 bits
  const void* codes = nullptr;     // [row tiles][column tiles][planes][256] words
  const void* scales = nullptr;    // [row tiles][groups][32]
  const uint8_t* zeros = nullptr;  // the same
  /// Of its products, but not of their gradients: those have no few rows to agree with.
  Instructions instructions = Instructions::kWarps;

  LLMKIT_HOST_DEVICE size_t row_tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  LLMKIT_HOST_DEVICE size_t column_tiles() const {
    return (cols + kTileColumns - 1) / kTileColumns;
  }
  LLMKIT_HOST_DEVICE size_t padded_cols() const { return column_tiles() * kTileColumns; }
  /// Of a row.
  LLMKIT_HOST_DEVICE size_t groups() const { return (padded_cols() + group - 1) / group; }
  LLMKIT_HOST_DEVICE int tiles_per_group() const {
    return group > kTileColumns ? group / kTileColumns : 1;
  }
};

/// The shortest type that holds all scales of a weight in host memory; kNone when it has none.
/// Nested scales become float32: a product then reads 4 bytes per group instead of 1 (9 % more for
/// groups of 64), but needs no look-ups and no divisions to find them.
ScaleType exact_scale_type(const WeightView& host);

/// The packed form of a weight, all but its memory. Only the sizes of `view` are read. Groups that
/// are neither whole rows nor multiples of 32 columns in each row (bitsandbytes, where cols is not
/// a multiple of the block) are decoded, and their products rounded to bf16 once: 4 times the
/// memory.
PackedWeight packed_form(const WeightView& view, ScaleType scale_type);

/// Bytes of a packed weight, and the memory to fill, aligned to 16.
size_t packed_bytes(const PackedWeight& weight);
void place_packed(PackedWeight& weight, void* memory);

/// Fills the memory of `weight`, packed_form of the view, from a view of device pointers.
cudaError_t pack_weight(const WeightView& view, const PackedWeight& weight, cudaStream_t stream);

/// y [rows, cols] = what products see of a packed weight, in float32.
cudaError_t unpack_weight(const PackedWeight& weight, float* y, cudaStream_t stream);

}  // namespace llmkit::cuda
