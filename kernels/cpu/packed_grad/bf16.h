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
    uint16_t* const at = values + col / 16 * kPiecesOfDepth * kPiece + col % 16 * kGradStep;
    _mm512_store_si512(at, (__m512i)_mm512_cvtne2ps_pbh(second.v, first.v));
  }
  void next() { values += kPiece; }
};

inline void decode_bf16(const PackedWeight& weight, const GradPanel& p, void* panel) {
  decode_panel(weight, p, Bf16Panel{static_cast<uint16_t*>(panel)});
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

/// 16 rows by 32 values of dy, of which `rows` and `depth` are there.
inline void pack_tile(const GradRows& p, size_t row, size_t n, uint16_t* out) {
  const size_t rows = p.rows - row < 16 ? p.rows - row : 16;
  const size_t count = p.depth - n;
  const __mmask16 low = count < 16 ? (1u << count) - 1 : 0xffff;
  const __mmask16 high = count < 16 ? 0 : count < 32 ? (1u << (count - 16)) - 1 : 0xffff;
  __m512 pairs[16];
  for (size_t i = 0; i < 16; ++i) {
    const float* const dy = p.dy + (row + i) * p.ld + n;
    const bool here = i < rows;
    const __m512 a = _mm512_maskz_loadu_ps(here ? low : 0, dy);
    const __m512 b = _mm512_maskz_loadu_ps(here ? high : 0, dy + 16);
    pairs[i] = (__m512)_mm512_cvtne2ps_pbh(b, a);
  }
  transpose_16(pairs);
  for (size_t i = 0; i < 16; ++i) _mm512_storeu_ps(out + 2 * i * p.width, pairs[i]);
}

inline void pack_bf16(const GradRows& p, void* block) {
  uint16_t* const out = static_cast<uint16_t*>(block);
  for (size_t n = 0; n < p.depth; n += kGradStep)
    for (size_t row = 0; row < p.width; row += 16)
      if (row < p.rows) {
        pack_tile(p, row, n, out + n * p.width + 2 * row);
      } else {
        pack_tile({p.dy, p.ld, 0, p.width, p.depth}, 0, n, out + n * p.width + 2 * row);
      }
}

inline void transpose_block_512(const float* sums, size_t ld, float* rows) {
  __m512 r[16];
  for (size_t i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(sums + i * ld);
  transpose_16(r);
  for (size_t i = 0; i < 16; ++i) _mm512_storeu_ps(rows + i * kGradRows, r[i]);
}

}  // namespace
}  // namespace llmkit
