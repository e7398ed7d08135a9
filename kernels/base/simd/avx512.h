#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

// The 16-lane vector of README.md on AVX-512: one register.

namespace llmkit {
namespace {  // internal linkage: code built with -mavx512 must not be shared with other files

constexpr int kLanes = 16;

struct Vec {
  __m512 v;
};
struct Index {
  __m512i v;
};
struct Mask {
  __mmask16 v;
};

/// Register tiles: rows and columns of accumulators (dot form), rows and vectors (axpy form).
constexpr int kDotRows = 6, kDotCols = 4, kAxpyRows = 6, kAxpyVecs = 4;

inline Mask first_lanes(size_t n) { return {static_cast<__mmask16>((1u << n) - 1)}; }
inline Vec load(const void* p) { return {_mm512_loadu_ps(p)}; }
inline Vec load_partial(const void* p, size_t n) {
  return {_mm512_maskz_loadu_ps(first_lanes(n).v, p)};
}
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline void store_partial(float* p, Vec a, size_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n).v, a.v);
}
inline Vec splat(float x) { return {_mm512_set1_ps(x)}; }
inline Vec zero() { return {_mm512_setzero_ps()}; }

inline Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
/// The larger; b when one is NaN.
inline Vec larger(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
/// The smaller; b when one is NaN.
inline Vec smaller(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec square_root(Vec a) { return {_mm512_sqrt_ps(a.v)}; }

inline Mask less(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask equal(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
inline Vec select(Mask m, Vec yes, Vec no) { return {_mm512_mask_blend_ps(m.v, no.v, yes.v)}; }

inline Index splat_int(uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
inline Index lane_numbers() {
  return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}
inline Index add(Index a, Index b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Index sub(Index a, Index b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline Index mul(Index a, Index b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
inline Index bit_and(Index a, Index b) { return {_mm512_and_si512(a.v, b.v)}; }
inline Index bit_or(Index a, Index b) { return {_mm512_or_si512(a.v, b.v)}; }
inline Index bit_xor(Index a, Index b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int kBits>
inline Index shift_left(Index a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline Index shift_right(Index a) {
  return {_mm512_srli_epi32(a.v, kBits)};
}
template <int kBits>
inline Index shift_right_signed(Index a) {
  return {_mm512_srai_epi32(a.v, kBits)};
}
inline Index as_int(Vec a) { return {_mm512_castps_si512(a.v)}; }
inline Vec as_float(Index a) { return {_mm512_castsi512_ps(a.v)}; }
inline Vec to_float(Index a) { return {_mm512_cvtepi32_ps(a.v)}; }
/// Rounds to the nearest integer, ties to even.
inline Index to_int(Vec a) { return {_mm512_cvtps_epi32(a.v)}; }

/// An Index that a loop carries from turn to turn: with the element type of the instructions, GCC
/// needs no copies between the turns.
struct Carried {
  __v16si v;
};
inline Carried carry(Index a) { return {(__v16si)a.v}; }
inline Index index_of(Carried a) { return {(__m512i)a.v}; }

/// The larger, as signed integers.
inline Index larger(Index a, Index b) { return {_mm512_max_epi32(a.v, b.v)}; }
inline uint32_t largest_lane(Index a) {
  return static_cast<uint32_t>(_mm512_reduce_max_epi32(a.v));
}
/// Products of signed integers of 16 bits; a is not negative.
inline Index mul_16(Index a, Index b) { return {_mm512_madd_epi16(a.v, b.v)}; }
/// The low byte of every lane.
inline void store_bytes(void* p, Index a) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}
/// The low 16 bits of every lane.
inline void store_halves(void* p, Index a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v));
}

/// Adds the product of the four unsigned bytes of a lane of `codes` with the four signed of x.
inline Index dot_bytes(Index acc, Index codes, Index x) {
#ifdef __AVX512VNNI__
  return {_mm512_dpbusd_epi32(acc.v, codes.v, x.v)};
#else
  // maddubs adds two products in 16 bits: the top bit goes by itself, so that they fit.
  const __m512i ones = _mm512_set1_epi16(1), top = _mm512_set1_epi8(-128);
  const __m512i upper = _mm512_maddubs_epi16(_mm512_and_si512(codes.v, top), x.v);
  const __m512i lower = _mm512_maddubs_epi16(_mm512_andnot_si512(top, codes.v), x.v);
  const __m512i sum = _mm512_add_epi32(acc.v, _mm512_madd_epi16(upper, ones));
  return {_mm512_add_epi32(sum, _mm512_madd_epi16(lower, ones))};
#endif
}
/// dot_bytes of a with xa and of b with xb; the codes are at most 15.
inline Index dot_nibbles(Index acc, Index a, Index xa, Index b, Index xb) {
#ifdef __AVX512VNNI__
  return dot_bytes(dot_bytes(acc, a, xa), b, xb);
#else
  const __m512i pairs =
      _mm512_add_epi16(_mm512_maddubs_epi16(a.v, xa.v), _mm512_maddubs_epi16(b.v, xb.v));
  return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
#endif
}

/// a · 2^n for whole n
inline Vec times_power_of_two(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }

/// Lane j of vector i becomes lane i of vector j.
inline void transpose(Vec (&a)[kLanes]) {
  __m512 pairs[16], quads[16], halves[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(a[i].v, a[i + 1].v);
    pairs[i + 1] = _mm512_unpackhi_ps(a[i].v, a[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      quads[i + 2 * j] = _mm512_shuffle_ps(pairs[i + j], pairs[i + 2 + j], 0x44);
      quads[i + 2 * j + 1] = _mm512_shuffle_ps(pairs[i + j], pairs[i + 2 + j], 0xee);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; ++j) {
      halves[i + j] = _mm512_shuffle_f32x4(quads[i + j], quads[i + 4 + j], 0x88);
      halves[i + 4 + j] = _mm512_shuffle_f32x4(quads[i + j], quads[i + 4 + j], 0xdd);
    }
  for (int j = 0; j < 8; ++j) {
    a[j].v = _mm512_shuffle_f32x4(halves[j], halves[8 + j], 0x88);
    a[8 + j].v = _mm512_shuffle_f32x4(halves[j], halves[8 + j], 0xdd);
  }
}

/// Sums of 16 vectors, one per lane. Each is the tree of README.md: lanes i and i+8, then 4, 2, 1.
inline Vec sums(const Vec* a) {
  __m512 quads[4];  // quads[j] holds, by 128-bit block b, the four partial sums of a[4b + j]
  for (int j = 0; j < 4; ++j) {
    const __m512 p = _mm512_add_ps(_mm512_shuffle_f32x4(a[j].v, a[4 + j].v, 0x44),
                                   _mm512_shuffle_f32x4(a[j].v, a[4 + j].v, 0xee));
    const __m512 q = _mm512_add_ps(_mm512_shuffle_f32x4(a[8 + j].v, a[12 + j].v, 0x44),
                                   _mm512_shuffle_f32x4(a[8 + j].v, a[12 + j].v, 0xee));
    quads[j] = _mm512_add_ps(_mm512_shuffle_f32x4(p, q, 0x88), _mm512_shuffle_f32x4(p, q, 0xdd));
  }
  const __m512 low = _mm512_add_ps(_mm512_shuffle_ps(quads[0], quads[1], 0x44),
                                   _mm512_shuffle_ps(quads[0], quads[1], 0xee));
  const __m512 high = _mm512_add_ps(_mm512_shuffle_ps(quads[2], quads[3], 0x44),
                                    _mm512_shuffle_ps(quads[2], quads[3], 0xee));
  return {_mm512_add_ps(_mm512_shuffle_ps(low, high, 0x88), _mm512_shuffle_ps(low, high, 0xdd))};
}

/// Sum of the lanes, by the same tree.
inline float sum(Vec a) {
  const __m256 v8 = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  v4 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v4, _mm_movehdup_ps(v4)));
}

/// table[index mod 16] of every lane
inline Vec lookup(Vec table, Index index) { return {_mm512_permutexvar_ps(index.v, table.v)}; }
/// The entry index mod 32 of every lane, of a table whose second half is `upper`.
inline Vec lookup(Vec lower, Vec upper, Index index) {
  return {_mm512_permutex2var_ps(lower.v, index.v, upper.v)};
}

inline Index nibbles(const uint8_t* p, __m512i shifts) {
  const __m512i low = _mm512_broadcastd_epi32(_mm_loadu_si32(p));
  return {
      _mm512_srlv_epi32(_mm512_mask_broadcastd_epi32(low, 0xff00, _mm_loadu_si32(p + 4)), shifts)};
}
/// 16 nibbles of 8 bytes, the low one of a byte first; only bits 0..3 of a lane count.
inline Index nibbles_low_first(const uint8_t* p) {
  return nibbles(p, _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28));
}
/// The same, the high one first.
inline Index nibbles_high_first(const uint8_t* p) {
  return nibbles(p, _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24));
}
/// 16 bytes, one in each lane.
inline Index widen_u8(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Vec load_u8(const uint8_t* p) { return to_float(widen_u8(p)); }
inline Vec load_s8(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}
inline Vec load_bf16(const uint8_t* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
}
inline Vec load_f16(const uint8_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}

}  // namespace
}  // namespace llmkit
