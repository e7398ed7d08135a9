#pragma once

#include "cpu/packed_int8/prepare.h"

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// Codes minus their zero points, so that a sum needs no correction. For AVX-512: include
/// base/simd/avx512.h first.
struct SignedCodes {
  static constexpr bool kCorrects = false, kHasFactors = true;
  static const float* factors(const PreparedRows& x) { return x.scales; }

  static Vec load_scales(const PackedWeight& weight, const uint8_t* group) {
    if (weight.scale_type == ScaleType::kF32) return load(group);
    return weight.scale_type == ScaleType::kF16 ? load_f16(group) : load_bf16(group);
  }
  /// Of row r in dword r.
  static __m512i zero_points(const PackedWeight& weight, const uint8_t* group) {
    if (!weight.has_zeros) return _mm512_set1_epi32(weight.code == PackedCode::kFourBit ? 8 : 128);
    const uint8_t* const zeros = group + packed_scale_bytes(weight.scale_type);
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(zeros)));
  }
  /// Of row r in each byte of dword r.
  static __m512i byte_zero_points(const PackedWeight& weight, const uint8_t* group) {
    if (!weight.has_zeros) return _mm512_set1_epi8(weight.code == PackedCode::kFourBit ? 8 : -128);
    return _mm512_mullo_epi32(zero_points(weight, group), _mm512_set1_epi32(0x01010101));
  }
  static size_t lines_offset(const PackedWeight& weight) {
    return packed_scale_bytes(weight.scale_type) + (weight.has_zeros ? 16 : 0);
  }

  /// A group as scales in float32 and lines of four columns of int8.
  template <PackedCode kCode>
  static void unpack_bytes(const PackedWeight& weight, const uint8_t* group, float* scales,
                           uint8_t* lines) {
    store(scales, load_scales(weight, group));
    const __m512i zeros = byte_zero_points(weight, group), mask = _mm512_set1_epi8(15);
    const uint8_t* const end = group + weight.group_bytes;
    for (group += lines_offset(weight); group < end; group += 64) {
      const __m512i line = _mm512_loadu_si512(group);
      if constexpr (kCode == PackedCode::kFourBit) {
        const __m512i low = _mm512_and_si512(line, mask);
        const __m512i high = _mm512_and_si512(_mm512_srli_epi16(line, 4), mask);
        _mm512_storeu_si512(lines, _mm512_sub_epi8(low, zeros));
        _mm512_storeu_si512(lines + 64, _mm512_sub_epi8(high, zeros));
        lines += 128;
      } else {
        _mm512_storeu_si512(lines, _mm512_sub_epi8(line, zeros));
        lines += 64;
      }
    }
  }
};

}  // namespace
}  // namespace llmkit
