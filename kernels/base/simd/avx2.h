#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

// The 16-lane vector of README.md on AVX2: two registers, lanes 0..7 and 8..15.

namespace llmkit {
namespace {  // internal linkage: code built with -mavx2 must not be shared with other files

constexpr int kLanes = 16;

struct Vec {
  __m256 lo, hi;
};
struct Index {
  __m256i lo, hi;
};
struct Mask {
  __m256 lo, hi;
};

/// Register tiles: rows and columns of accumulators (dot form), rows and vectors (axpy form).
constexpr int kDotRows = 4, kDotCols = 3, kAxpyRows = 6, kAxpyVecs = 1;

inline __m256i first_lanes_of(size_t n, int base) {
  const __m256i lanes =
      _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(base));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
}
inline Mask first_lanes(size_t n) {
  return {_mm256_castsi256_ps(first_lanes_of(n, 0)), _mm256_castsi256_ps(first_lanes_of(n, 8))};
}
inline const float* at(const void* p, int i) {
  return reinterpret_cast<const float*>(static_cast<const char*>(p) + sizeof(float) * i);
}
inline Vec load(const void* p) { return {_mm256_loadu_ps(at(p, 0)), _mm256_loadu_ps(at(p, 8))}; }
inline Vec load_partial(const void* p, size_t n) {
  return {_mm256_maskload_ps(at(p, 0), first_lanes_of(n, 0)),
          _mm256_maskload_ps(at(p, 8), first_lanes_of(n, 8))};
}
inline void store(float* p, Vec a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline void store_partial(float* p, Vec a, size_t n) {
  _mm256_maskstore_ps(p, first_lanes_of(n, 0), a.lo);
  _mm256_maskstore_ps(p + 8, first_lanes_of(n, 8), a.hi);
}
inline Vec splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Vec zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }

inline Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
/// The larger; b when one is NaN.
inline Vec larger(Vec a, Vec b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
/// The smaller; b when one is NaN.
inline Vec smaller(Vec a, Vec b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline Vec fma(Vec a, Vec b, Vec c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline Vec square_root(Vec a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }

inline Mask less(Vec a, Vec b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
}
inline Mask equal(Vec a, Vec b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ)};
}
inline Vec select(Mask m, Vec yes, Vec no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi)};
}

inline Index splat_int(uint32_t x) {
  const __m256i v = _mm256_set1_epi32(static_cast<int>(x));
  return {v, v};
}
inline Index lane_numbers() {
  return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
          _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}
inline Index add(Index a, Index b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
inline Index sub(Index a, Index b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
inline Index mul(Index a, Index b) {
  return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)};
}
inline Index bit_and(Index a, Index b) {
  return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
inline Index bit_or(Index a, Index b) {
  return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}
inline Index bit_xor(Index a, Index b) {
  return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}
template <int kBits>
inline Index shift_left(Index a) {
  return {_mm256_slli_epi32(a.lo, kBits), _mm256_slli_epi32(a.hi, kBits)};
}
template <int kBits>
inline Index shift_right(Index a) {
  return {_mm256_srli_epi32(a.lo, kBits), _mm256_srli_epi32(a.hi, kBits)};
}
template <int kBits>
inline Index shift_right_signed(Index a) {
  return {_mm256_srai_epi32(a.lo, kBits), _mm256_srai_epi32(a.hi, kBits)};
}
inline Index as_int(Vec a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }
inline Vec as_float(Index a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
inline Vec to_float(Index a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
/// Rounds to the nearest integer, ties to even.
inline Index to_int(Vec a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }

/// The larger, as signed integers.
inline Index larger(Index a, Index b) {
  return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)};
}
inline uint32_t largest_lane(Index a) {
  const __m256i v8 = _mm256_max_epi32(a.lo, a.hi);
  __m128i v4 = _mm_max_epi32(_mm256_castsi256_si128(v8), _mm256_extracti128_si256(v8, 1));
  v4 = _mm_max_epi32(v4, _mm_shuffle_epi32(v4, 0x4e));
  v4 = _mm_max_epi32(v4, _mm_shuffle_epi32(v4, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(v4));
}
/// Products of signed integers of 16 bits; a is not negative.
inline Index mul_16(Index a, Index b) {
  return {_mm256_madd_epi16(a.lo, b.lo), _mm256_madd_epi16(a.hi, b.hi)};
}
/// The low byte of every lane.
inline void store_bytes(void* p, Index a) {
  const __m256i low = _mm256_set1_epi32(255);
  const __m256i words =  // lanes 0..3, 8..11, 4..7, 12..15
      _mm256_packus_epi32(_mm256_and_si256(a.lo, low), _mm256_and_si256(a.hi, low));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128(
      static_cast<__m128i*>(p),
      _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)));
}
/// The low 16 bits of every lane.
inline void store_halves(void* p, Index a) {
  const __m256i low = _mm256_set1_epi32(0xffff);
  const __m256i words =  // lanes 0..3, 8..11, 4..7, 12..15
      _mm256_packus_epi32(_mm256_and_si256(a.lo, low), _mm256_and_si256(a.hi, low));
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm256_permute4x64_epi64(words, 0xd8));
}

inline void transpose_8(__m256 (&a)[8]) {
  __m256 pairs[8], quads[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) {
      quads[i + 2 * j] = _mm256_shuffle_ps(pairs[i + j], pairs[i + 2 + j], 0x44);
      quads[i + 2 * j + 1] = _mm256_shuffle_ps(pairs[i + j], pairs[i + 2 + j], 0xee);
    }
  for (int j = 0; j < 4; ++j) {
    a[j] = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x20);
    a[4 + j] = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x31);
  }
}
/// Lane j of vector i becomes lane i of vector j.
inline void transpose(Vec (&a)[kLanes]) {
  __m256 blocks[2][2][8];
  for (int i = 0; i < 16; ++i) {
    blocks[i / 8][0][i % 8] = a[i].lo;
    blocks[i / 8][1][i % 8] = a[i].hi;
  }
  for (int i = 0; i < 4; ++i) transpose_8(blocks[i / 2][i % 2]);
  for (int i = 0; i < 16; ++i) a[i] = {blocks[0][i / 8][i % 8], blocks[1][i / 8][i % 8]};
}

/// Sums of 8 vectors, whose halves have been added.
inline __m256 sums_of_8(const __m256* a) {
  __m256 quads[4];  // quads[j]: the four partial sums of a[j] and of a[4 + j]
  for (int j = 0; j < 4; ++j)
    quads[j] = _mm256_add_ps(_mm256_permute2f128_ps(a[j], a[4 + j], 0x20),
                             _mm256_permute2f128_ps(a[j], a[4 + j], 0x31));
  const __m256 low = _mm256_add_ps(_mm256_shuffle_ps(quads[0], quads[1], 0x44),
                                   _mm256_shuffle_ps(quads[0], quads[1], 0xee));
  const __m256 high = _mm256_add_ps(_mm256_shuffle_ps(quads[2], quads[3], 0x44),
                                    _mm256_shuffle_ps(quads[2], quads[3], 0xee));
  return _mm256_add_ps(_mm256_shuffle_ps(low, high, 0x88), _mm256_shuffle_ps(low, high, 0xdd));
}
/// Sums of 16 vectors, one per lane. Each is the tree of README.md: lanes i and i+8, then 4, 2, 1.
inline Vec sums(const Vec* a) {
  __m256 halves[16];
  for (int i = 0; i < 16; ++i) halves[i] = _mm256_add_ps(a[i].lo, a[i].hi);
  return {sums_of_8(halves), sums_of_8(halves + 8)};
}
/// Sum of the lanes, by the same tree.
inline float sum(Vec a) {
  const __m256 v8 = _mm256_add_ps(a.lo, a.hi);
  __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  v4 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v4, _mm_movehdup_ps(v4)));
}

inline __m256 lookup_8(Vec table, __m256i index) {
  const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.lo, index),
                          _mm256_permutevar8x32_ps(table.hi, index), upper);
}
/// table[index mod 16] of every lane
inline Vec lookup(Vec table, Index index) {
  return {lookup_8(table, index.lo), lookup_8(table, index.hi)};
}
inline __m256 lookup_8(Vec lower, Vec upper, __m256i index) {
  const __m256 in_upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 27));
  return _mm256_blendv_ps(lookup_8(lower, index), lookup_8(upper, index), in_upper);
}
/// The entry index mod 32 of every lane, of a table whose second half is `upper`.
inline Vec lookup(Vec lower, Vec upper, Index index) {
  return {lookup_8(lower, upper, index.lo), lookup_8(lower, upper, index.hi)};
}

inline Index nibbles(const uint8_t* p, __m256i shifts) {
  int32_t words[2];
  std::memcpy(words, p, sizeof words);
  return {_mm256_srlv_epi32(_mm256_set1_epi32(words[0]), shifts),
          _mm256_srlv_epi32(_mm256_set1_epi32(words[1]), shifts)};
}
/// 16 nibbles of 8 bytes, the low one of a byte first; only bits 0..3 of a lane count.
inline Index nibbles_low_first(const uint8_t* p) {
  return nibbles(p, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
}
/// The same, the high one first.
inline Index nibbles_high_first(const uint8_t* p) {
  return nibbles(p, _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24));
}
/// 16 bytes, one in each lane.
inline Index widen_u8(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
}
inline Vec load_u8(const uint8_t* p) { return to_float(widen_u8(p)); }
inline Vec load_s8(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
inline __m128i load_8_halves(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline Vec load_bf16(const uint8_t* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_8_halves(p)), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_8_halves(p + 16)), 16))};
}
inline Vec load_f16(const uint8_t* p) {
  return {_mm256_cvtph_ps(load_8_halves(p)), _mm256_cvtph_ps(load_8_halves(p + 16))};
}

}  // namespace
}  // namespace llmkit

#include "base/simd/power_of_two.h"
