#pragma once

#include "base/simd/avx512.h"
#include "cpu/packed_grad/decode.h"

// What the kernels with bf16 instructions share. A block is [depth / 2, width, 2]: pairs of values
// along the sum, the lanes along the rows of dy. A panel is made of pieces of 16 columns by 32 rows
// of the weight, each contiguous, the pieces of the same columns side by side.

namespace llmkit {
namespace {  // a copy per instruction set

constexpr size_t kPiece = 16 * kGradStep;
constexpr size_t kPiecesOfDepth = kGradDepth / kGradStep;

inline const uint16_t* piece_of(const void* panel, size_t col, size_t step) {
  return static_cast<const uint16_t*>(panel) + (col / 16 * kPiecesOfDepth + step) * kPiece;
}

struct Bf16Panel {
  uint16_t* values;
  void put(size_t col, Vec first, Vec second) const {
    put(col, (__m512i)_mm512_cvtne2ps_pbh(second.v, first.v));
  }
  void put(size_t col, __m512i rows) const {
    _mm512_store_si512(values + col / 16 * kPiecesOfDepth * kPiece + col % 16 * kGradStep, rows);
  }
  void next() { values += kPiece; }
};

/// The lines of 16-bit codes hold what a panel does: columns only move.
inline void move_columns(const PackedWeight& weight, GradPanel p, Bf16Panel panel) {
  const __m512i even =
      _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26,
                       24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd = _mm512_add_epi16(even, _mm512_set1_epi16(1));
  for (size_t i = 0; i < p.tiles; i += 2, panel.next()) {
    const uint8_t* const first = weight.tile(p.tile + i) + p.col / 2 * 64;
    const __mmask16 both = i + 1 < p.tiles ? 0xffff : 0;
    for (size_t col = 0; col < p.cols; col += 2) {
      const uint8_t* const line = first + col / 2 * 64;
      __builtin_prefetch(line + 2 * weight.tile_bytes);
      __builtin_prefetch(line + 3 * weight.tile_bytes);
      const __m512i a = _mm512_load_si512(line);
      const __m512i b = _mm512_maskz_load_epi32(both, line + weight.tile_bytes);
      panel.put(col, _mm512_permutex2var_epi16(a, even, b));
      panel.put(col + 1, _mm512_permutex2var_epi16(a, odd, b));
    }
  }
}

inline void decode_bf16(const PackedWeight& weight, const GradPanel& p, void* panel) {
  const Bf16Panel to = {static_cast<uint16_t*>(panel)};
  if (weight.code == PackedCode::kSixteenBit)
    move_columns(weight, p, to);
  else
    decode_panel(weight, p, to);
}

inline void transpose_16(__m512 (&r)[16]) {
  __m512 t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 2; ++j) {
      const __m512d low = _mm512_castps_pd(t[4 * i + j]), high = _mm512_castps_pd(t[4 * i + 2 + j]);
      r[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
      r[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
    }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

/// `count` (at most 32) values, rounded to bf16, in the order in which they lie.
inline __m512 load_pairs(const float* p, size_t count) {
  const __mmask16 low = count < 16 ? (1u << count) - 1 : 0xffff;
  const __mmask16 high = count < 16 ? 0 : count < 32 ? (1u << (count - 16)) - 1 : 0xffff;
  return (__m512)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, p + 16),
                                     _mm512_maskz_loadu_ps(low, p));
}
inline __m512 load_pairs(const uint16_t* p, size_t count) {
  const __mmask32 mask = count < 32 ? (1u << count) - 1 : 0xffffffff;
  return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, p));
}

/// 16 rows by 32 values of dy, of which `rows` and what is left of the depth are there.
template <typename Input>
inline void pack_tile(const GradRows& p, const Input* dy, size_t rows, size_t n, uint16_t* out) {
  const size_t left = p.depth - n;
  __m512 pairs[16];
  for (size_t i = 0; i < 16; ++i)
    pairs[i] = i < rows ? load_pairs(dy + i * p.ld + n, left) : _mm512_setzero_ps();
  transpose_16(pairs);
  for (size_t i = 0; i < 16; ++i) _mm512_storeu_ps(out + 2 * i * p.width, pairs[i]);
}

template <typename Input>
inline void pack_rows_of(const GradRows& p, const Input* dy, uint16_t* out) {
  for (size_t n = 0; n < p.depth; n += kGradStep)
    for (size_t row = 0; row < p.width; row += 16) {
      const size_t rows = row < p.rows ? (p.rows - row < 16 ? p.rows - row : 16) : 0;
      pack_tile(p, dy + row * p.ld, rows, n, out + n * p.width + 2 * row);
    }
}

inline void pack_bf16(const GradRows& p, void* block) {
  uint16_t* const out = static_cast<uint16_t*>(block);
  if (p.dy.is_bf16)
    pack_rows_of(p, p.dy.halves(), out);
  else
    pack_rows_of(p, p.dy.floats(), out);
}

/// Up to 16 values, rounded to bf16.
inline __m256i load_rounded(const float* p, __mmask16 mask) {
  return (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, p));
}
inline __m256i load_rounded(const uint16_t* p, __mmask16 mask) {
  return _mm256_maskz_loadu_epi16(mask, p);
}

/// Rows of a matrix that are asked for ahead: a few columns of each are no stream.
constexpr size_t kAhead = 16;

template <typename Input>
void pack_columns_of(const GradColumns& p, const Input* values, uint16_t* out) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const size_t depth = (p.rows + kGradStep - 1) / kGradStep * kGradStep;
  for (size_t row = 0; row < depth; row += 2)
    for (size_t col = 0; col < p.width; col += 16, out += 32) {
      const size_t left = col < p.cols ? p.cols - col : 0;
      const __mmask16 mask = left < 16 ? (1u << left) - 1 : 0xffff;
      const Input* const at = values + row * p.ld + col;
      if (row + kAhead + 1 < p.rows) {
        __builtin_prefetch(at + kAhead * p.ld);
        __builtin_prefetch(at + (kAhead + 1) * p.ld);
      }
      const __m256i even = load_rounded(at, row < p.rows ? mask : 0);
      const __m256i odd = load_rounded(at + p.ld, row + 1 < p.rows ? mask : 0);
      const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1);
      _mm512_storeu_si512(out, _mm512_permutexvar_epi16(order, both));
    }
}

inline void pack_columns_bf16(const GradColumns& p, void* block) {
  uint16_t* const out = static_cast<uint16_t*>(block);
  if (p.values.is_bf16)
    pack_columns_of(p, p.values.halves(), out);
  else
    pack_columns_of(p, p.values.floats(), out);
}

inline void transpose_block_512(const float* sums, size_t ld, float* rows) {
  __m512 r[16];
  for (size_t i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(sums + i * ld);
  transpose_16(r);
  for (size_t i = 0; i < 16; ++i) _mm512_storeu_ps(rows + i * kGradRows, r[i]);
}

}  // namespace
}  // namespace llmkit
