#pragma once

#include "base/simd/bf16.h"
#include "cpu/rounded/rounded.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

constexpr size_t kLineBytes = 64;

/// At most 16 values of a row, from `col` on; zeros where there are none.
inline Vec values_at(const FloatMatrix& matrix, size_t row, size_t col) {
  if (row >= matrix.rows || col >= matrix.cols) return zero();
  const float* const at = matrix.values + row * matrix.ld + col;
  const size_t left = matrix.cols - col;
  return left >= kLanes ? load(at) : load_partial(at, left);
}

inline void pack_rows(const FloatMatrix& rows, size_t padded, uint8_t* tile) {
  for (size_t col = 0; col < padded; col += kLanes) {
    Vec values[kLanes];
    for (size_t row = 0; row < kLanes; ++row) values[row] = values_at(rows, row, col);
    transpose(values);
    for (int i = 0; i < kLanes; i += 2, tile += kLineBytes)
      store_rounded_line(tile, values[i], values[i + 1]);
  }
}

inline void pack_columns(const FloatMatrix& columns, size_t padded, size_t tile_bytes,
                         uint8_t* tiles) {
  for (size_t row = 0; row < padded; row += 2, tiles += kLineBytes) {
    uint8_t* line = tiles;
    for (size_t col = 0; col < columns.cols; col += kLanes, line += tile_bytes)
      store_rounded_line(line, values_at(columns, row, col), values_at(columns, row + 1, col));
  }
}

inline void transpose_matrix(const FloatMatrix& matrix, float* out) {
  for (size_t row = 0; row < matrix.rows; row += kLanes)
    for (size_t col = 0; col < matrix.cols; col += kLanes) {
      Vec values[kLanes];
      for (size_t i = 0; i < kLanes; ++i) values[i] = values_at(matrix, row + i, col);
      transpose(values);
      const size_t rows = matrix.rows - row < kLanes ? matrix.rows - row : kLanes;
      for (size_t i = 0; i < kLanes && col + i < matrix.cols; ++i)
        store_partial(out + (col + i) * matrix.rows + row, values[i], rows);
    }
}

}  // namespace
}  // namespace llmkit
