#pragma once

#include <cstddef>

#include "base/elements.h"
#include "base/packed_weight.h"

namespace llmkit {

/// The cut of dxᵀ = weightᵀ · dyᵀ: strips of at most kGradCols padded columns of the weight,
/// kGradDepth rows of it at a time, blocks of kGradRows rows of dy. A panel, the sums of a strip
/// and what is read of dy stay in the second-level cache. A block stays in the first, half of which
/// it takes, while all columns of the panel pass by it.
constexpr size_t kGradCols = 256, kGradDepth = 384, kGradRows = 32;
/// Rows of the weight are taken in twos of tiles; a missing one counts as zeros.
constexpr size_t kGradStep = 32;

/// A block of dy: `rows` rows of `depth` values, padded with zeros to `width` (a multiple of 16)
/// rows and to whole steps of values.
struct GradRows {
  ConstElements dy;
  size_t ld;
  size_t rows, width, depth;
};

/// The same of a matrix whose rows the sum runs along: `rows` rows of `cols` values, padded with
/// zeros to `width` (a multiple of 16) columns and to whole steps of rows.
struct GradColumns {
  ConstElements values;
  size_t ld;
  size_t rows, cols, width;
};

/// A panel of the weight: `cols` padded columns (a multiple of 8) from `col`, `tiles` tiles.
struct GradPanel {
  size_t col, cols;
  size_t tile, tiles;
};

/// sums [cols, width] (+)= panel [cols, depth] · block [depth, width]; cols is a multiple of 16.
struct GradProduct {
  size_t cols, width, depth;
  const void* panel;
  const void* block;
  float* sums;
  size_t ld;  // elements from a row of sums to the next
  bool accumulate;
};

/// The parts of packed_grad_input on one thread. Panels and blocks hold bf16 values in a form of
/// the kernels' own, kGradCols * kGradDepth and width * depth of them, `element` bytes each.
struct PackedGradKernels {
  size_t element;
  void (*pack)(const GradRows& rows, void* block);
  void (*pack_columns)(const GradColumns& columns, void* block);
  void (*decode)(const PackedWeight& weight, const GradPanel& part, void* panel);
  void (*product)(const GradProduct& args);
  /// 16 columns of rows [16, kGradRows] from sums [16, ld].
  void (*transpose)(const float* sums, size_t ld, float* rows);
};

/// The best kernels of this machine.
const PackedGradKernels& packed_grad_kernels();

#define PACKED_GRAD_KERNELS(isa, name) extern const PackedGradKernels name;
#include "cpu/packed_grad/kernels.inc"
#undef PACKED_GRAD_KERNELS

}  // namespace llmkit
