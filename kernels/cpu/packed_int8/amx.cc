#include "base/simd/avx512.h"
#include "cpu/packed/amx_product.h"
#include "cpu/packed_int8/amx_pairs.h"

// Groups of whole 64 columns are multiplied as bytes. Others, of 32 columns, would leave half of a
// tile of bytes empty: they are multiplied as bf16, which holds the same integers exactly and gives
// the same sums (below 2^24, so exact too) as float32, without a conversion of every sum; a few rows
// take two groups at a time (amx_pairs.h).

namespace llmkit {
namespace {

/// Fewer rows of x are faster without tiles, with the same bits. Measured.
constexpr size_t kLeastRowsOfBytes = 16, kLeastRowsOfPairs = 9, kLeastRowsOfWords = 40;

template <PackedCode kCode>
struct Bytes : SignedCodes {
  using Value = int8_t;

  template <int kSums, int kRows, int kLines>
  static void multiply() {
    tile_multiply_int8<kSums, kRows, kLines>();
  }
  static Vec add_scaled(Vec sums, Vec scales, const float* factors, int r, Vec acc) {
    return fma(to_float(as_int(sums)), mul(scales, splat(factors[r])), acc);
  }
  static void store_values(int8_t* out, Index values) { store_bytes(out, values); }

  static void unpack(const PackedWeight& weight, const uint8_t* group, float* scales, float*,
                     uint8_t* lines) {
    unpack_bytes<kCode>(weight, group, scales, lines);
  }
};

/// 16 integers of at most 256 as float32: the upper halves are the same in bf16.
inline __m512i float_bits(__m512i integers) {
  return _mm512_castps_si512(_mm512_cvtepi32_ps(integers));
}

template <PackedCode kCode>
struct Words : SignedCodes {
  using Value = uint16_t;

  template <int kSums, int kRows, int kLines>
  static void multiply() {
    tile_multiply_bf16<kSums, kRows, kLines>();
  }
  static Vec add_scaled(Vec sums, Vec scales, const float* factors, int r, Vec acc) {
    return fma(sums, mul(scales, splat(factors[r])), acc);
  }
  /// 4-bit codes in the order 0 2 4 6 1 3 5 7 of their lines.
  static void store_values(uint16_t* out, Index values) {
    __m512i bits = _mm512_srli_epi32(float_bits(values.v), 16);
    if constexpr (kCode == PackedCode::kFourBit)
      bits = _mm512_permutexvar_epi32(
          _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15), bits);
    store_halves(out, {bits});
  }

  static void unpack(const PackedWeight& weight, const uint8_t* group, float* scales, float*,
                     uint8_t* lines) {
    store(scales, load_scales(weight, group));
    const __m512i zeros = zero_points(weight, group);
    const uint8_t* const end = group + weight.group_bytes;
    for (group += lines_offset(weight); group < end; group += 64) {
      const __m512i line = _mm512_loadu_si512(group);
      if constexpr (kCode == PackedCode::kFourBit)
        lines = unpack_nibbles(line, _mm512_mullo_epi32(zeros, _mm512_set1_epi32(0x10001)), lines);
      else
        lines = unpack_bytes(line, zeros, lines);
    }
  }

 private:
  /// Bf16 values of -16 ... 15, by the low five bits of the integer.
  static __m512i signed_table() {
    const __m512i positive = lane_numbers().v;
    const __m512i negative = _mm512_sub_epi32(positive, _mm512_set1_epi32(16));
    const auto upper_halves = [](__m512i integers) {
      return _mm512_cvtepi32_epi16(_mm512_srli_epi32(float_bits(integers), 16));
    };
    return _mm512_inserti64x4(_mm512_castsi256_si512(upper_halves(positive)),
                              upper_halves(negative), 1);
  }
  static uint8_t* unpack_nibbles(__m512i line, __m512i zeros, uint8_t* lines) {
    const __m512i table = signed_table(), mask = _mm512_set1_epi16(15);
    for (int shift = 0; shift < 16; shift += 4, lines += 64) {
      const __m512i codes =
          _mm512_and_si512(_mm512_srl_epi16(line, _mm_cvtsi32_si128(shift)), mask);
      const __m512i values = _mm512_permutexvar_epi16(_mm512_sub_epi16(codes, zeros), table);
      _mm512_storeu_si512(lines, values);
    }
    return lines;
  }
  static uint8_t* unpack_bytes(__m512i line, __m512i zeros, uint8_t* lines) {
    const __m512i mask = _mm512_set1_epi32(255);
    const auto value = [&](int column) {
      const __m512i codes =
          _mm512_and_si512(_mm512_srl_epi32(line, _mm_cvtsi32_si128(8 * column)), mask);
      return float_bits(_mm512_sub_epi32(codes, zeros));
    };
    for (int column = 0; column < 4; column += 2, lines += 64)
      _mm512_storeu_si512(lines,
                          _mm512_or_si512(_mm512_srli_epi32(value(column), 16), value(column + 1)));
    return lines;
  }
};

/// Rows in blocks of 16, after the last one zeros.
template <typename Kind>
void prepare_for(const PackedWeight& weight, const PrepareArgs& args) {
  using Value = typename Kind::Value;
  constexpr size_t kStepValues = kStepBytes / sizeof(Value);
  const size_t stride = weight.group_stride, block = kBlockRows * weight.padded_cols();
  for (size_t row = 0; row < (args.m + 15) / 16 * 16; ++row)
    for (size_t g = 0; g < weight.groups; ++g) {
      const size_t first = g * weight.group, left = weight.cols - first;
      const size_t count = row < args.m ? std::min(weight.group, left) : 0;
      const float* const x = args.x + (count > 0 ? row * args.ldx + first : 0);
      const GroupScale scale = group_scale(x, count);
      const size_t finite = scale.inverse == 0 ? 0 : count;
      args.scales[(row / 16 * weight.groups + g) * 16 + row % 16] = scale.scale;
      Value* const out = static_cast<Value*>(args.values) + row / 16 * block + g * stride * 16 +
                         row % 16 * kStepValues;
      for (size_t k = 0; k < stride; k += kLanes) {
        const Vec v = k < finite ? load_some(x + k, finite - k) : zero();
        Kind::store_values(out + k / kStepValues * kStepValues * 16 + k % kStepValues,
                           to_int(mul(v, splat(scale.inverse))));
      }
    }
}

template <template <PackedCode> class Kind>
void prepare(const PackedWeight& weight, const PrepareArgs& args) {
  weight.code == PackedCode::kFourBit ? prepare_for<Kind<PackedCode::kFourBit>>(weight, args)
                                      : prepare_for<Kind<PackedCode::kEightBit>>(weight, args);
}
template <template <PackedCode> class Kind>
void product(const PackedWeight& weight, const PackedProductArgs& args) {
  weight.code == PackedCode::kFourBit
      ? multiply_in_tiles<Kind<PackedCode::kFourBit>>(weight, args)
      : multiply_in_tiles<Kind<PackedCode::kEightBit>>(weight, args);
}

/// 8-bit codes less than zero points of their own take nine bits.
bool takes_bytes(const PackedWeight& weight, size_t m) {
  return m >= kLeastRowsOfBytes && weight.group_stride % 64 == 0 &&
         !(weight.code == PackedCode::kEightBit && weight.has_zeros);
}
bool takes_pairs(const PackedWeight& weight, size_t m) {
  return m >= kLeastRowsOfPairs && m < kLeastRowsOfWords && has_pairs(weight);
}
bool takes_words(const PackedWeight& weight, size_t m) {
  return m >= kLeastRowsOfWords && weight.group_stride % 32 == 0;
}

}  // namespace

const PackedKernels packed_int8_amx = {prepare<Bytes>, product<Bytes>, product<Bytes>,
                                       kBlockRows,     kPanelTiles,    sizeof(int8_t),
                                       kBlockRows,     kCachedRows,    takes_bytes};
const PackedKernels packed_int8_amx_words = {prepare<Words>, product<Words>, product<Words>,
                                             kBlockRows,     kPanelTiles,    sizeof(uint16_t),
                                             kBlockRows,     kCachedRows,    takes_words};
const PackedKernels packed_int8_amx_pairs = {prepare_pairs,
                                             multiply_pairs,
                                             multiply_pairs,
                                             kLeastRowsOfWords,
                                             1,
                                             2 * sizeof(int8_t),
                                             kPairRows,
                                             0,
                                             takes_pairs};

}  // namespace llmkit
