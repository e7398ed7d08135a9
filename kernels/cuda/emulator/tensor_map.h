#pragma once

#include <cstddef>

namespace llmkit::cuda {

/// What copy_box reads, see base/tensor_map.h: a matrix of 2-byte values, rows and columns of it
/// that are there, and the rows of a box.
struct TensorMap {
  const char* values;
  size_t rows, cols, row_bytes;
  int box_rows;
};

}  // namespace llmkit::cuda
