#pragma once

#include "cpu/packed_bf16/columns_f32.h"

// Looking bytes up is four times as fast as looking up float32 values: a table each for the low and
// the high byte of a bf16 value, then the bytes of a value are brought together.

namespace llmkit {
namespace {

struct Table {
  __m256i low, high;  // byte c of each half: that of code c
};

inline Table table_of(const uint16_t* values) {
  const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
  const __m128i second = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values + 8));
  const __m128i mask = _mm_set1_epi16(0xff);
  const __m128i low = _mm_packus_epi16(_mm_and_si128(first, mask), _mm_and_si128(second, mask));
  const __m128i high = _mm_packus_epi16(_mm_srli_epi16(first, 8), _mm_srli_epi16(second, 8));
  return {_mm256_broadcastsi128_si256(low), _mm256_broadcastsi128_si256(high)};
}

/// Two bf16 values of 8 rows, as float32.
inline void widen(__m256i pairs, __m256& even, __m256& odd) {
  even = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
  odd = _mm256_castsi256_ps(
      _mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}

/// 8 rows of 4 columns, a code in the low half of each byte.
struct Half {
  __m256 columns[4];
};
inline Half decode_half(__m256i codes, const Table& table) {
  const __m256i index = _mm256_and_si256(codes, _mm256_set1_epi8(15));
  const __m256i low = _mm256_shuffle_epi8(table.low, index);
  const __m256i high = _mm256_shuffle_epi8(table.high, index);
  const __m256 rows01 = _mm256_castsi256_ps(_mm256_unpacklo_epi8(low, high));
  const __m256 rows23 = _mm256_castsi256_ps(_mm256_unpackhi_epi8(low, high));
  Half half;
  widen(_mm256_castps_si256(_mm256_shuffle_ps(rows01, rows23, 0x88)), half.columns[0],
        half.columns[1]);
  widen(_mm256_castps_si256(_mm256_shuffle_ps(rows01, rows23, 0xdd)), half.columns[2],
        half.columns[3]);
  return half;
}

inline void decode_four_bit(const uint8_t* line, const Table& table, Columns* out) {
  const Index codes = as_int(load(line));
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {  // the low halves of the bytes, then the high
    const Half lo = decode_half(i == 0 ? codes.lo : _mm256_srli_epi16(codes.lo, 4), table);
    const Half hi = decode_half(i == 0 ? codes.hi : _mm256_srli_epi16(codes.hi, 4), table);
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j)
      out[2 * i + j] = {{lo.columns[2 * j], hi.columns[2 * j]},
                        {lo.columns[2 * j + 1], hi.columns[2 * j + 1]}};
  }
}

}  // namespace
}  // namespace llmkit
