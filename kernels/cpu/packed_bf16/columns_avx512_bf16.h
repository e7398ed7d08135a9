#pragma once

#include "base/packed_weight.h"
#include "base/simd/avx512.h"

// Two columns of a tile as pairs of bf16, which one instruction multiplies and adds.

namespace llmkit {
namespace {  // internal linkage: as in the vector headers

/// An element of a prepared row of x, and of a panel of decoded columns: a bf16 value.
using Value = uint16_t;

/// 16 rows of two columns.
struct Columns {
  __m512i v;
};

inline void store_columns(Value* p, Columns w) { _mm512_storeu_si512(p, w.v); }
inline Vec multiply_add(Columns w, const Value* x, Vec s) {
  int pair;
  std::memcpy(&pair, x, sizeof pair);
  return {_mm512_dpbf16_ps(s.v, (__m512bh)w.v, (__m512bh)_mm512_set1_epi32(pair))};
}
/// Columns of a panel, loaded as a whole.
constexpr int kColumnParts = 1;
using ColumnPart = Columns;
inline ColumnPart load_part(const Value* p, int) { return {_mm512_loadu_si512(p)}; }
inline Vec multiply_add(ColumnPart w, const Value* x, int, Vec s) { return multiply_add(w, x, s); }

/// The values of the 16 codes, twice: a lookup reads 5 bits of a word, of which 4 are the code.
struct Table {
  __m512i v;
};
inline Table table_of(const uint16_t* values) {
  const __m256i once = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
  return {_mm512_broadcast_i64x4(once)};
}
/// Columns in the order 0 2 4 6 1 3 5 7: those whose codes lie 16 bits apart are a pair.
inline void decode_four_bit(const uint8_t* line, const Table& table, Columns* out) {
  const __m512i codes = _mm512_loadu_si512(line);
  out[0] = {_mm512_permutexvar_epi16(codes, table.v)};
  out[1] = {_mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 4), table.v)};
  out[2] = {_mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 8), table.v)};
  out[3] = {_mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 12), table.v)};
}

/// The float32 value of a signed byte, the uppermost of a dword, is a bf16 value and 16 zero bits.
inline __m512i float_of_top_byte(__m512i v) {
  return _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_srai_epi32(v, 24)));
}
inline Columns pair_of_bytes(__m512i even, __m512i odd) {
  return {_mm512_or_si512(_mm512_srli_epi32(float_of_top_byte(even), 16), float_of_top_byte(odd))};
}
inline void decode_eight_bit(const uint8_t* line, Columns* out) {
  const __m512i codes =
      _mm512_xor_si512(_mm512_loadu_si512(line), _mm512_set1_epi8(static_cast<char>(0x80)));
  out[0] = pair_of_bytes(_mm512_slli_epi32(codes, 24), _mm512_slli_epi32(codes, 16));
  out[1] = pair_of_bytes(_mm512_slli_epi32(codes, 8), codes);
}
inline void decode_sixteen_bit(const uint8_t* line, Columns* out) {
  out[0] = {_mm512_loadu_si512(line)};
}

/// 16 values of a row in bf16, in the order of the columns of a line.
template <PackedCode kCode>
inline __m256i round_in_order(Vec x) {
  __m512 ordered = x.v;
  if constexpr (kCode == PackedCode::kFourBit)
    ordered = _mm512_permutexvar_ps(
        _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15), x.v);
  return (__m256i)_mm512_cvtneps_pbh(ordered);
}
inline Vec floats_of_bf16(__m256i values) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(values), 16))};
}
/// Rounds and stores n <= 16 values of a row; returns them, zeros after the end.
template <PackedCode kCode>
inline Vec store_rounded(Value* p, Vec x, size_t n) {
  const __m256i rounded = round_in_order<kCode>(x);
  _mm256_mask_storeu_epi16(p, first_lanes(n).v, rounded);
  return floats_of_bf16(rounded);
}

}  // namespace
}  // namespace llmkit
