#pragma once

#include <cstddef>
#include <cstdint>

#include "base/elements.h"
#include "base/packed_weight.h"
#include "cpu/packed/packed.h"

namespace llmkit {

/// A float32 matrix, rows `ld` floats apart.
struct FloatMatrix {
  const float* values;
  size_t rows, cols;
  size_t ld;
};

/// A matrix of float32 or bf16, rows `ld` values apart.
struct ElementMatrix {
  ConstElements values;
  size_t rows, cols;
  size_t ld;
};

// Products with a weight that is trained, in bf16: its values and what it is multiplied with are
// rounded to bf16 for the call, the sums are float32 and in the order of packed_product, so that a
// row of y and of dx does not depend on m, bit for bit. All threads.

/// y [m, rows] = x [m, cols] · weightᵀ + bias (may be null)
void rounded_linear(const FloatMatrix& weight, size_t m, const ConstElements& x, const float* bias,
                    const Elements& y);
/// dx [m, cols] = dy [m, rows] · weight
void rounded_grad_input(const FloatMatrix& weight, size_t m, const float* dy, float* dx);
/// dweight [dy.cols, x.cols] = dyᵀ · x, rows of both ascending
void rounded_grad_weight(const ElementMatrix& dy, const ElementMatrix& x, float* dweight);

/// A matrix rounded to bf16 in the layout of packed products, in memory of the caller's thread:
/// valid until its next call of the same function.
PackedWeight rounded_rows(const FloatMatrix& matrix);
/// The same of its transpose.
PackedWeight rounded_columns(const ElementMatrix& matrix);
/// dweight as above, of x whose columns are rounded already.
void rounded_grad_weight(const ElementMatrix& dy, const PackedWeight& x_columns, float* dweight);

/// The parts on one thread. `padded` counts the columns of a packed row, the padding included.
struct RoundedKernels {
  /// At most 16 rows into the lines of a tile.
  void (*pack_rows)(const FloatMatrix& rows, size_t padded, uint8_t* tile);
  /// Columns into tiles `tile_bytes` apart, one for every 16.
  void (*pack_columns)(const ElementMatrix& columns, size_t padded, size_t tile_bytes,
                       uint8_t* tiles);
  /// out [cols, rows] = the transpose, in float32 or rounded to bf16. Its rows are `ld` values
  /// apart, a multiple of 32, of which those behind the last may be written too.
  void (*transpose)(const ElementMatrix& matrix, const Elements& out, size_t ld);
};

#define ROUNDED_KERNELS(isa, name) extern const RoundedKernels name;
#include "cpu/rounded/kernels.inc"
#undef ROUNDED_KERNELS

}  // namespace llmkit
