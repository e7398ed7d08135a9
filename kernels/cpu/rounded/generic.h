#pragma once

#include "base/simd/loops.h"
#include "cpu/rounded/rounded.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

constexpr size_t kLineBytes = 64;
/// Rows ahead of those in use that are asked for: a few columns of each are no stream.
constexpr size_t kAhead = 64;

/// Of a matrix, rows `ld` values apart.
struct MatrixSize {
  size_t rows, cols, ld;
};

/// At most 16 values of a row, from `col` on; zeros where there are none.
template <typename Value>
inline Vec values_at(const Value* values, const MatrixSize& size, size_t row, size_t col) {
  if (row >= size.rows || col >= size.cols) return zero();
  const Value* const at = values + row * size.ld;
  const size_t left = size.cols - col;
  return left >= kLanes ? Whole{col}.get(at) : Part{col, left}.get(at);
}
inline Vec values_at(const FloatMatrix& matrix, size_t row, size_t col) {
  return values_at(matrix.values, {matrix.rows, matrix.cols, matrix.ld}, row, col);
}

inline void pack_rows(const FloatMatrix& rows, size_t padded, uint8_t* tile) {
  for (size_t col = 0; col < padded; col += kLanes) {
    Vec values[kLanes];
    for (size_t row = 0; row < kLanes; ++row) {
      values[row] = values_at(rows, row, col);
      __builtin_prefetch(rows.values + (kLanes + row) * rows.ld + col);  // of the next tile
    }
    transpose(values);
    for (int i = 0; i < kLanes; i += 2, tile += kLineBytes)
      store_rounded_line(tile, values[i], values[i + 1]);
  }
}

template <typename Value>
inline void pack_columns_of(const Value* values, const MatrixSize& size, size_t padded,
                            size_t tile_bytes, uint8_t* tiles) {
  for (size_t row = 0; row < padded; row += 2, tiles += kLineBytes) {
    uint8_t* line = tiles;
    for (size_t col = 0; col < size.cols; col += kLanes, line += tile_bytes)
      store_rounded_line(line, values_at(values, size, row, col),
                         values_at(values, size, row + 1, col));
  }
}

inline void pack_columns(const ElementMatrix& columns, size_t padded, size_t tile_bytes,
                         uint8_t* tiles) {
  const MatrixSize size = {columns.rows, columns.cols, columns.ld};
  if (columns.values.is_bf16)
    pack_columns_of(columns.values.halves(), size, padded, tile_bytes, tiles);
  else
    pack_columns_of(columns.values.floats(), size, padded, tile_bytes, tiles);
}

template <typename Value>
inline void transpose_to(const Value* from, const MatrixSize& size, float* out, size_t ld) {
  for (size_t row = 0; row < size.rows; row += kLanes)
    for (size_t col = 0; col < size.cols; col += kLanes) {
      Vec values[kLanes];
      for (size_t i = 0; i < kLanes; ++i) values[i] = values_at(from, size, row + i, col);
      transpose(values);
      for (size_t i = 0; i < kLanes && col + i < size.cols; ++i)
        store(out + (col + i) * ld + row, values[i]);
    }
}

/// Two rows at a time: a pair moves as one value.
template <typename Value>
inline void transpose_to(const Value* from, const MatrixSize& size, uint16_t* out, size_t ld) {
  for (size_t row = 0; row < size.rows; row += 2 * kLanes)
    for (size_t col = 0; col < size.cols; col += kLanes) {
      Vec pairs[kLanes];
      for (size_t i = 0; i < kLanes; ++i) {
        const size_t at = row + 2 * i;
        pairs[i] =
            rounded_pairs(values_at(from, size, at, col), values_at(from, size, at + 1, col));
        const Value* const ahead = from + (at + kAhead) * size.ld + col;
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + size.ld);
      }
      transpose(pairs);
      for (size_t i = 0; i < kLanes && col + i < size.cols; ++i)
        store(reinterpret_cast<float*>(out + (col + i) * ld + row), pairs[i]);
    }
}

template <typename Output>
inline void transpose_elements(const ElementMatrix& matrix, Output* out, size_t ld) {
  const MatrixSize size = {matrix.rows, matrix.cols, matrix.ld};
  if (matrix.values.is_bf16)
    transpose_to(matrix.values.halves(), size, out, ld);
  else
    transpose_to(matrix.values.floats(), size, out, ld);
}

inline void transpose_matrix(const ElementMatrix& matrix, const Elements& out, size_t ld) {
  if (out.is_bf16)
    transpose_elements(matrix, out.halves(), ld);
  else
    transpose_elements(matrix, out.floats(), ld);
}

}  // namespace
}  // namespace llmkit
