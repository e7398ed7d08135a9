#pragma once

#include "base/simd/bf16.h"
#include "cpu/split/split.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

/// At most 16 values of a row, from `col` on; zeros where there are none.
inline Vec values_at(const SplitMatrix& matrix, size_t row, size_t col) {
  if (row >= matrix.rows || col >= matrix.cols) return zero();
  const float* const at = matrix.values + row * matrix.ld + col;
  const size_t left = matrix.cols - col;
  return left >= kLanes ? load(at) : load_partial(at, left);
}

/// 16 rows of two columns of bf16 values.
inline void store_line(uint8_t* line, Vec even, Vec odd) {
  const Index low = shift_right<16>(as_int(even));
  store(reinterpret_cast<float*>(line), as_float(bit_or(low, as_int(odd))));
}

inline void split_pair(Vec even, Vec odd, uint8_t* high, uint8_t* low) {
  const Vec high_even = round_to_bf16(even), high_odd = round_to_bf16(odd);
  store_line(high, high_even, high_odd);
  store_line(low, round_to_bf16(sub(even, high_even)), round_to_bf16(sub(odd, high_odd)));
}

/// `lines` lines of 16 columns, the rows of `columns`.
template <bool kCodeOrder>
inline void split_lines(const Vec (&columns)[kLanes], size_t lines, uint8_t* high, uint8_t* low) {
  constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
#pragma GCC unroll 8
  for (int line = 0; line < kLanes / 2; ++line)
    if (static_cast<size_t>(line) < lines) {
      const int even = kCodeOrder ? kOrder[2 * line] : 2 * line;
      const int odd = kCodeOrder ? kOrder[2 * line + 1] : 2 * line + 1;
      split_pair(columns[even], columns[odd], high + line * 64, low + line * 64);
    }
}

inline void split(const SplitArgs& p) {
  for (size_t col = 0; col < p.stride; col += kLanes) {
    Vec values[kLanes];
    for (size_t row = 0; row < kLanes; ++row) values[row] = values_at(p.rows, row, col);
    transpose(values);
    const size_t left = (p.stride - col) / 2, at = col / 2 * 64;
    p.code_order ? split_lines<true>(values, left, p.high + at, p.low + at)
                 : split_lines<false>(values, left, p.high + at, p.low + at);
  }
}

}  // namespace
}  // namespace llmkit
