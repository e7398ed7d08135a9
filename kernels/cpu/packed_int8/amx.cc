#include "base/simd/avx512.h"
#include "cpu/packed/amx_product.h"
#include "cpu/packed_int8/amx_pairs.h"

// Codes are multiplied as bytes, 64 columns of a group at a time, or 32 where that leaves fewer to
// be filled with zeros; a few rows by groups of 32 take two groups at a time (amx_pairs.h). 8-bit
// codes less than zero points of their own take nine bits: they are multiplied as bf16, which holds
// the integers exactly, and their sums too (below 2^24).

namespace llmkit {
namespace {

/// Fewer rows of x are faster without tiles, with the same bits. Measured.
constexpr size_t kLeastRowsOfBytes = 16, kLeastRowsOfPairs = 12, kLeastRowsOfHalves = 40;

template <PackedCode kCode, size_t kBytes>
struct Bytes : SignedCodes {
  using Value = int8_t;
  static constexpr size_t kRowBytes = kBytes;

  template <int kSums, int kRows, int kLines>
  static void multiply() {
    tile_multiply_int8<kSums, kRows, kLines>();
  }
  static Vec add_scaled(Vec sums, Vec scale, Vec factor, Vec acc) {
    return fma(to_float(as_int(sums)), mul(scale, factor), acc);
  }
  static void store_values(int8_t* out, Index values) { store_bytes(out, values); }

  static void unpack(const PackedWeight& weight, const uint8_t* group, float* scales, float*,
                     uint8_t* lines) {
    unpack_bytes<kCode>(weight, group, scales, lines);
  }
};
template <PackedCode kCode>
using WholeBytes = Bytes<kCode, 64>;
template <PackedCode kCode>
using HalfBytes = Bytes<kCode, 32>;

/// 8-bit codes, 32 columns at a time.
struct Words : SignedCodes {
  using Value = uint16_t;
  static constexpr size_t kRowBytes = 64;

  template <int kSums, int kRows, int kLines>
  static void multiply() {
    tile_multiply_bf16<kSums, kRows, kLines>();
  }
  static Vec add_scaled(Vec sums, Vec scale, Vec factor, Vec acc) {
    return fma(sums, mul(scale, factor), acc);
  }
  static void store_values(uint16_t* out, Index values) {
    store_halves(out, {_mm512_srli_epi32(float_bits(values.v), 16)});
  }

  static void unpack(const PackedWeight& weight, const uint8_t* group, float* scales, float*,
                     uint8_t* lines) {
    store(scales, load_scales(weight, group));
    const __m512i zeros = zero_points(weight, group), mask = _mm512_set1_epi32(255);
    const uint8_t* const end = group + weight.group_bytes;
    for (group += lines_offset(weight); group < end; group += 64) {
      const __m512i line = _mm512_loadu_si512(group);
      const auto value = [&](int column) {
        const __m512i codes =
            _mm512_and_si512(_mm512_srl_epi32(line, _mm_cvtsi32_si128(8 * column)), mask);
        return float_bits(_mm512_sub_epi32(codes, zeros));
      };
      for (int column = 0; column < 4; column += 2, lines += 64)
        _mm512_storeu_si512(
            lines, _mm512_or_si512(_mm512_srli_epi32(value(column), 16), value(column + 1)));
    }
  }

 private:
  /// 16 integers of at most 256 as float32: the upper halves are the same in bf16.
  static __m512i float_bits(__m512i integers) {
    return _mm512_castps_si512(_mm512_cvtepi32_ps(integers));
  }
};

/// group_scale of one group of each row of a block.
struct BlockScales {
  alignas(64) float scale[kBlockRows], inverse[kBlockRows];
};

/// Of 16 rows at once. @returns false where a row has no inverse
bool scales_at_once(const float* x, size_t ldx, size_t count, BlockScales& scales) {
  const Index magnitude = splat_int(0x7fffffff);
  Vec most[kLanes];
  for (size_t row = 0; row < kBlockRows; ++row, x += ldx) {
    Index largest = splat_int(0);
    for (size_t k = 0; k < count; k += kLanes)
      largest = larger(largest, bit_and(as_int(load_some(x + k, count - k)), magnitude));
    most[row] = as_float(largest);
  }
  transpose(most);
  Index largest = as_int(most[0]);
#pragma GCC unroll 16
  for (int i = 1; i < kLanes; ++i) largest = larger(largest, as_int(most[i]));
  const Vec scale = div(as_float(largest), splat(127.0f));
  store(scales.scale, scale);
  store(scales.inverse, div(splat(1), scale));
  const __mmask16 finite =
      _mm512_cmp_ps_mask(as_float(largest).v, splat(kMostMaximum).v, _CMP_LE_OQ);
  return _mm512_mask_cmp_ps_mask(finite, as_float(largest).v, splat(kLeastMaximum).v, _CMP_GE_OQ) ==
         0xffff;
}

/// Of fewer rows; those that are missing count as zeros.
void scales_one_by_one(const float* x, size_t ldx, size_t rows, size_t count, BlockScales& scales) {
  for (size_t row = 0; row < kBlockRows; ++row) {
    const GroupScale scale = row < rows ? group_scale(x + row * ldx, count) : GroupScale{0, 0};
    scales.scale[row] = scale.scale;
    scales.inverse[row] = scale.inverse;
  }
}

/// Rows in blocks of 16, after the last one zeros.
template <typename Kind>
void prepare_for(const PackedWeight& weight, const PrepareArgs& args) {
  using Value = typename Kind::Value;
  constexpr size_t kStepValues = Kind::kRowBytes / sizeof(Value);
  const size_t stride = steps_of<Kind>(weight).of_group * kStepValues;
  BlockScales scales;
  Value* values = static_cast<Value*>(args.values);
  for (size_t first = 0; first < args.m; first += kBlockRows)
    for (size_t g = 0; g < weight.groups; ++g, values += stride * kBlockRows) {
      const size_t rows = std::min(kBlockRows, args.m - first), col = g * weight.group;
      const size_t count = std::min(weight.group, weight.cols - col);
      const float* const x = args.x + first * args.ldx + col;
      if (rows < kBlockRows || !scales_at_once(x, args.ldx, count, scales))
        scales_one_by_one(x, args.ldx, rows, count, scales);
      std::memcpy(args.scales + (first / kBlockRows * weight.groups + g) * kBlockRows, scales.scale,
                  sizeof scales.scale);
      for (size_t row = 0; row < kBlockRows; ++row) {
        const size_t finite = scales.inverse[row] == 0 ? 0 : count;
        Value* const out = values + row * kStepValues;
        for (size_t k = 0; k < stride; k += kLanes) {
          const Vec v = k < finite ? load_some(x + row * args.ldx + k, finite - k) : zero();
          Kind::store_values(out + k / kStepValues * kStepValues * kBlockRows + k % kStepValues,
                             to_int(mul(v, splat(scales.inverse[row]))));
        }
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

bool fits_bytes(const PackedWeight& weight) {
  return weight.code == PackedCode::kFourBit || !weight.has_zeros;
}
/// Columns of a group behind its own that a tile multiplies by zeros.
size_t padding(const PackedWeight& weight, size_t step_cols) {
  return (step_cols - weight.group_stride % step_cols) % step_cols;
}
bool takes_bytes(const PackedWeight& weight, size_t m) {
  return m >= kLeastRowsOfBytes && padding(weight, 64) < 32 && fits_bytes(weight);
}
bool takes_pairs(const PackedWeight& weight, size_t m) {
  return m >= kLeastRowsOfPairs && m < kLeastRowsOfHalves && has_pairs(weight);
}
bool takes_halves(const PackedWeight& weight, size_t m) {
  return m >= kLeastRowsOfHalves && 2 * padding(weight, 32) <= weight.group_stride &&
         fits_bytes(weight);
}
bool takes_words(const PackedWeight& weight, size_t m) {
  return m >= kLeastRowsOfHalves && weight.group_stride % 32 == 0 && !fits_bytes(weight);
}

template <template <PackedCode> class Bytes>
constexpr PackedKernels byte_kernels(bool (*takes)(const PackedWeight&, size_t), size_t step_cols) {
  PackedKernels kernels = {
      prepare<Bytes>, product<Bytes>, product<Bytes>, kBlockRows, panel_tiles(step_cols),
      sizeof(int8_t), kBlockRows,     kCachedRows,    takes};
  kernels.step_cols = step_cols;
  return kernels;
}

}  // namespace

const PackedKernels packed_int8_amx = byte_kernels<WholeBytes>(takes_bytes, 64);
const PackedKernels packed_int8_amx_halves = byte_kernels<HalfBytes>(takes_halves, 32);
const PackedKernels packed_int8_amx_words = {prepare_for<Words>,
                                             multiply_in_tiles<Words>,
                                             multiply_in_tiles<Words>,
                                             kBlockRows,
                                             panel_tiles(64),
                                             sizeof(uint16_t),
                                             kBlockRows,
                                             kCachedRows,
                                             takes_words};
const PackedKernels packed_int8_amx_pairs = {prepare_pairs,
                                             multiply_pairs,
                                             multiply_pairs,
                                             kLeastRowsOfHalves,
                                             1,
                                             2 * sizeof(int8_t),
                                             kPairRows,
                                             0,
                                             takes_pairs};

}  // namespace llmkit
