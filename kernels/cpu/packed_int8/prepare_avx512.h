#pragma once

#include <type_traits>

#include "base/simd/avx512.h"
#include "cpu/packed_int8/prepare.h"

// Rows of x as int8, all rows of a block at once: what is found of a group (its largest magnitude,
// scale and sum) lies in a lane per row, and values need not go through memory to lie side by side.

namespace llmkit {
namespace {  // a copy per file: built with its flags

constexpr int kBlockLanes = 8;
/// Columns that are rounded at a time, and the fewest rows for which this is worth it.
constexpr size_t kRoundedCols = 32, kFewestBlockRows = 3;

/// The largest of the lanes of each of 8 vectors, as signed integers: of vector r in lane r.
inline __m256i largest_lanes(const __m512i (&rows)[kBlockLanes]) {
  __m512i halves[4], quads[2];
  for (int i = 0; i < 4; ++i)  // i and i + 4 share a vector
    halves[i] = _mm512_max_epi32(_mm512_shuffle_i64x2(rows[i], rows[i + 4], 0x44),
                                 _mm512_shuffle_i64x2(rows[i], rows[i + 4], 0xee));
  for (int i = 0; i < 2; ++i) {
    const __m512i a = halves[2 * i], b = halves[2 * i + 1];
    quads[i] = _mm512_max_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  }
  // Lanes of each 128 bits: rows 0 1 2 3 (or 4 5 6 7), of two halves.
  const __m512i pairs = _mm512_max_epi32(_mm512_unpacklo_epi64(quads[0], quads[1]),
                                         _mm512_unpackhi_epi64(quads[0], quads[1]));
  const __m512i both = _mm512_max_epi32(pairs, _mm512_shuffle_i32x4(pairs, pairs, 0xb1));
  return _mm512_castsi512_si256(_mm512_shuffle_i32x4(both, both, 0x08));
}

/// 32 columns of 8 rows as bytes, four of each row side by side: columns 0 to 7 in fours[0].
inline void round_columns(const float* const (&rows)[kBlockLanes], size_t col, __m256 inverses,
                          __m512i (&fours)[4]) {
  __m512i pairs[4];
  const __m512 all = _mm512_castps256_ps512(inverses);
#pragma GCC unroll 4
  for (int pair = 0; pair < 4; ++pair) {
    __m512i words[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const int row = 2 * pair + i;
      const __m512 inverse = _mm512_permutexvar_ps(_mm512_set1_epi32(row), all);
      const float* const x = rows[row] + col;
      words[i] =
          _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), inverse)),
                             _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), inverse)));
    }
    // In 128 bits i: columns 4 i to 4 i + 3 of the first row, the same 16 further; of the second
    // row.
    pairs[pair] = _mm512_packs_epi16(words[0], words[1]);
  }
  const auto mixed = [](__m512i a, __m512i b, auto pick) {
    return _mm512_castps_si512(
        _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), decltype(pick)::value));
  };
  constexpr std::integral_constant<int, 0x88> kFirst;
  constexpr std::integral_constant<int, 0xdd> kSecond;
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const __m512i a = mixed(pairs[0], pairs[1], kFirst), b = mixed(pairs[2], pairs[3], kFirst);
  const __m512i c = mixed(pairs[0], pairs[1], kSecond), d = mixed(pairs[2], pairs[3], kSecond);
  fours[0] = _mm512_permutex2var_epi64(a, low, b);
  fours[1] = _mm512_permutex2var_epi64(a, high, b);
  fours[2] = _mm512_permutex2var_epi64(c, low, d);
  fours[3] = _mm512_permutex2var_epi64(c, high, d);
}

/// `side` fours of each half of `fours`, one after the other.
inline void store_fours(int8_t* to, __m512i fours, size_t side) {
  if (side == kBlockLanes) return _mm512_storeu_si512(to, fours);
  const __mmask8 mask = static_cast<__mmask8>((1u << side) - 1);
  _mm256_mask_storeu_epi32(to, mask, _mm512_castsi512_si256(fours));
  _mm256_mask_storeu_epi32(to + 4 * side, mask, _mm512_extracti64x4_epi64(fours, 1));
}

/// A whole group of `side` rows, the others being any, of columns in 32s. False, and nothing
/// written, when one is not finite.
inline bool prepare_group(const float* const (&rows)[kBlockLanes], size_t side, size_t begin,
                          size_t cols, int32_t zero_point, const PreparedGroup& to) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i most[kBlockLanes];
#pragma GCC unroll 8
  for (int row = 0; row < kBlockLanes; ++row) {
    most[row] = _mm512_setzero_si512();
    for (size_t k = begin; k < begin + cols; k += 16)
      most[row] = _mm512_max_epi32(most[row],
                                   _mm512_and_si512(_mm512_loadu_si512(rows[row] + k), magnitude));
  }
  const __m256 largest = _mm256_castsi256_ps(largest_lanes(most));
  if (_mm256_cmp_ps_mask(largest, _mm256_set1_ps(kMostMaximum), _CMP_NLE_UQ) != 0) return false;
  const __mmask8 counts = _mm256_cmp_ps_mask(largest, _mm256_set1_ps(kLeastMaximum), _CMP_GE_OQ);
  const __m256 scales = _mm256_maskz_div_ps(counts, largest, _mm256_set1_ps(127.0f));
  const __m256 inverses = _mm256_maskz_div_ps(counts, _mm256_set1_ps(1.0f), scales);
  __m512i total = _mm512_setzero_si512();
  int8_t* values = to.values;
  for (size_t k = begin; k < begin + cols; k += kRoundedCols) {
    __m512i fours[4];
    round_columns(rows, k, inverses, fours);
    for (int i = 0; i < 4; ++i, values += 8 * side) {
      total = dot_bytes({total}, {_mm512_set1_epi8(1)}, {fours[i]}).v;
      store_fours(values, fours[i], side);
    }
  }
  const __m256i sums =
      _mm256_add_epi32(_mm512_castsi512_si256(total), _mm512_extracti64x4_epi64(total, 1));
  const __mmask8 mask = static_cast<__mmask8>((1u << side) - 1);
  _mm256_mask_storeu_ps(to.scales, mask, scales);
  _mm256_mask_storeu_epi32(to.starts, mask,
                           _mm256_mullo_epi32(sums, _mm256_set1_epi32(-zero_point)));
  return true;
}

/// As prepare_int8, with the same bits.
template <int kRows>
inline void prepare_int8_blocks(const PackedWeight& w, const PrepareArgs& a) {
  static_assert(kRows <= kBlockLanes, "a lane for each row");
  for (size_t row = 0; row < a.m; row += kRows) {
    const size_t side = a.m - row < kRows ? a.m - row : kRows;
    const float* rows[kBlockLanes];
    for (size_t i = 0; i < kBlockLanes; ++i) rows[i] = a.x + (row + (i < side ? i : 0)) * a.ldx;
    for (size_t g = 0; g < w.groups; ++g) {
      const size_t begin = g * w.group;
      const bool whole = w.group % kRoundedCols == 0 && w.cols - begin >= w.group;
      const PreparedGroup to = prepared_group(w, a, row, side, g);
      if (side >= kFewestBlockRows && whole &&
          prepare_group(rows, side, begin, w.group, zero_point_of(w), to))
        continue;
      for (size_t i = 0; i < side; ++i) prepare_row_group(w, rows[i], g, i, side, to);
    }
  }
}

}  // namespace
}  // namespace llmkit
