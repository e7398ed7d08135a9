#pragma once

#include "base/packed_weight.h"
#include "base/simd/bf16.h"

// Two columns of a tile as float32: include base/simd/<isa>.h first. For machines that do not
// multiply bf16. Columns and x are in their natural order.

namespace llmkit {
namespace {  // a copy per instruction set

/// An element of a prepared row of x, and of a panel of decoded columns.
using Value = float;

/// 16 rows of two neighbouring columns.
struct Columns {
  Vec even, odd;
};

inline void store_columns(Value* p, Columns w) {
  store(p, w.even);
  store(p + 16, w.odd);
}
/// s + w.even x[0] + w.odd x[1], in this order.
inline Vec multiply_add(Columns w, const Value* x, Vec s) {
  return fma(w.odd, splat(x[1]), fma(w.even, splat(x[0]), s));
}
/// Columns of a panel are loaded one at a time: both fill registers that sums need.
constexpr int kColumnParts = 2;
using ColumnPart = Vec;
inline ColumnPart load_part(const Value* p, int part) { return load(p + 16 * part); }
inline Vec multiply_add(ColumnPart w, const Value* x, int part, Vec s) {
  return fma(w, splat(x[part]), s);
}

/// Column kColumn of a line of 8-bit codes, 0x80 flipped: then they are signed.
template <int kColumn>
inline Vec signed_column(Index line) {
  return to_float(shift_right_signed<24>(shift_left<24 - 8 * kColumn>(line)));
}
inline void decode_eight_bit(const uint8_t* line, Columns* out) {
  const Index codes = bit_xor(as_int(load(line)), splat_int(0x80808080u));
  out[0] = {signed_column<0>(codes), signed_column<1>(codes)};
  out[1] = {signed_column<2>(codes), signed_column<3>(codes)};
}
inline void decode_sixteen_bit(const uint8_t* line, Columns* out) {
  const Index words = as_int(load(line));
  out[0] = {as_float(shift_left<16>(words)), as_float(bit_and(words, splat_int(0xffff0000u)))};
}

/// Rounds (a NaN stays one) and stores n <= 16 values of a row; returns them, zeros after the end.
template <PackedCode>
inline Vec store_rounded(Value* p, Vec x, size_t n) {
  const Vec rounded = select(equal(x, x), round_to_bf16(x), x);
  store_partial(p, rounded, n);
  return rounded;
}

}  // namespace
}  // namespace llmkit
