#include "base/simd/avx512.h"

#include "cpu/packed/amx_product.h"
#include "cpu/packed_int8/prepare.h"

namespace llmkit {
namespace {

/// Fewer rows of x are faster without tiles, with the same bits. Measured.
constexpr size_t kLeastRows = 16;

/// Codes minus their zero points are signed bytes, so a sum needs no correction.
template <PackedCode kCode>
struct Int8Kind {
  static constexpr size_t kValueBytes = 1;
  static constexpr bool kPlain = false, kCorrects = false;

  template <int kSums, int kRows, int kLines>
  static void multiply() {
    tile_multiply_int8<kSums, kRows, kLines>();
  }
  static const float* factors(const PreparedRows& x) { return x.scales; }
  static Vec add_scaled(const float* sums, Vec scales, const float* factors, int r, Vec acc) {
    return fma(to_float(as_int(load(sums))), mul(scales, splat(factors[r])), acc);
  }

  /// The zero point of row r in the four bytes of dword r.
  static __m512i zero_points(const PackedWeight& weight, const uint8_t* group) {
    if (!weight.has_zeros) return _mm512_set1_epi8(8);
    const uint8_t* const zeros = group + packed_scale_bytes(weight.scale_type);
    const __m512i dwords =
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(zeros)));
    return _mm512_mullo_epi32(dwords, _mm512_set1_epi32(0x01010101));
  }
  static Vec load_scales(const PackedWeight& weight, const uint8_t* group) {
    if (weight.scale_type == ScaleType::kF32) return load(group);
    return weight.scale_type == ScaleType::kF16 ? load_f16(group) : load_bf16(group);
  }
  static void unpack(const PackedWeight& weight, const uint8_t* group, float* scales, float*,
                     uint8_t* lines) {
    store(scales, load_scales(weight, group));
    const __m512i zeros = zero_points(weight, group), mask = _mm512_set1_epi8(15);
    const uint8_t* const end = group + weight.group_bytes;
    group += packed_scale_bytes(weight.scale_type) + (weight.has_zeros ? 16 : 0);
    for (; group < end; group += 64) {
      const __m512i line = _mm512_loadu_si512(group);
      if constexpr (kCode == PackedCode::kFourBit) {
        const __m512i low = _mm512_and_si512(line, mask);
        const __m512i high = _mm512_and_si512(_mm512_srli_epi16(line, 4), mask);
        _mm512_storeu_si512(lines, _mm512_sub_epi8(low, zeros));
        _mm512_storeu_si512(lines + 64, _mm512_sub_epi8(high, zeros));
        lines += 128;
      } else {
        _mm512_storeu_si512(lines, _mm512_xor_si512(line, _mm512_set1_epi8(-128)));
        lines += 64;
      }
    }
  }
};

/// Rows in blocks of 16, after the last one zeros.
void prepare(const PackedWeight& weight, const PrepareArgs& args) {
  const Steps steps = steps_of(weight, 1);
  const size_t stride = weight.group_stride, block = kBlockRows * weight.padded_cols();
  int8_t group[256];  // a group has at most 128 columns
  for (size_t row = 0; row < (args.m + 15) / 16 * 16; ++row)
    for (size_t g = 0; g < weight.groups; ++g) {
      const size_t first = g * weight.group, left = weight.cols - first;
      const size_t count = row < args.m ? std::min(weight.group, left) : 0;
      const float* const x = args.x + (count > 0 ? row * args.ldx + first : 0);
      int32_t total;
      args.scales[(row / 16 * weight.groups + g) * 16 + row % 16] =
          prepare_group(x, count, stride, group, &total);
      int8_t* out = static_cast<int8_t*>(args.values) + row / 16 * block + g * stride * 16;
      for (size_t k = 0; k < stride; k += steps.row_bytes, out += steps.tile_bytes())
        std::memcpy(out + row % 16 * steps.row_bytes, group + k, steps.row_bytes);
    }
}

void product(const PackedWeight& weight, const PackedProductArgs& args) {
  if (weight.code == PackedCode::kFourBit)
    multiply_in_tiles<Int8Kind<PackedCode::kFourBit>>(weight, args);
  else
    multiply_in_tiles<Int8Kind<PackedCode::kEightBit>>(weight, args);
}

/// 8-bit codes less than their zero points take nine bits.
bool takes(const PackedWeight& weight, size_t m) {
  return m >= kLeastRows && weight.group_stride % 32 == 0 &&
         !(weight.code == PackedCode::kEightBit && weight.has_zeros);
}

}  // namespace

const PackedKernels packed_int8_amx = {prepare, product, product, kBlockRows, kPanelTiles, 1,
                                       kBlockRows, takes};

}  // namespace llmkit
