#pragma once

#include <cstddef>
#include <cstdint>

#include "base/packed_weight.h"
#include "base/scratch.h"

namespace llmkit {

// Matrices of float32 as sums of matrices of bf16, for products in bf16 that should not round them:
// a value is high + low + a rest, high being the value rounded to bf16 and low what that leaves,
// rounded too. The rest is 2^-16 of the value or less. Parts lie in the layout of packed products.

/// A float32 matrix, rows `ld` floats apart.
struct SplitMatrix {
  const float* values;
  size_t rows, cols;
  size_t ld;
};

/// Where columns lie in a packed row: groups of `group` columns, `stride` (even) apart and zeros
/// between; each 8 of them as 0 2 4 6 1 3 5 7 where `code_order`.
struct SplitPlaces {
  size_t group, stride;
  bool code_order;
};

/// The parts of a matrix one below the other: high, low, high, as far as `parts` goes, each with
/// its rows rounded up to 16. In a slot of this thread; made with all threads.
PackedWeight split_rows(const SplitMatrix& matrix, const SplitPlaces& places, size_t parts,
                        Scratch slot);
/// The parts side by side: high, low, high, each with split_width(cols) columns.
PackedWeight split_columns(const SplitMatrix& matrix, Scratch slot);

/// An even number of columns.
inline size_t split_width(size_t cols) { return (cols + 1) / 2 * 2; }

/// One row of the other factor: high, high, low as float32, `width` apart. Then the sum over all
/// three has every product of two parts but that of low by low.
void split_row(size_t cols, const float* row, size_t width, float* parts);

/// At most 16 rows of one group of columns into lines of both parts. A line holds two columns.
struct SplitArgs {
  SplitMatrix rows;  // its cols are those of the group
  size_t stride;     // columns of the lines
  bool code_order;
  uint8_t *high, *low;
};
struct SplitKernels {
  void (*split)(const SplitArgs& args);
};

#define SPLIT_KERNELS(isa, name) extern const SplitKernels name;
#include "cpu/split/kernels.inc"
#undef SPLIT_KERNELS

}  // namespace llmkit
