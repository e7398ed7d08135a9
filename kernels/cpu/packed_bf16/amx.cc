#include "base/simd/avx512.h"
#include "cpu/packed/amx_low_rank.h"
#include "cpu/packed/amx_plain.h"
#include "cpu/packed/amx_product.h"
#include "cpu/packed_bf16/amx_few.h"
#include "cpu/packed_bf16/columns_avx512_bf16.h"
#include "cpu/packed_bf16/panel.h"

namespace llmkit {
namespace {

/// 32 columns are a step, in the order in which lines are decoded.
template <PackedCode kCode>
struct Bf16Kind {
  using Value = llmkit::Value;
  static constexpr bool kCorrects = true, kHasFactors = false;
  static constexpr size_t kRowBytes = 64;

  template <int kSums, int kRows, int kLines>
  static void multiply() {
    tile_multiply_bf16<kSums, kRows, kLines>();
  }
  static const float* factors(const PreparedRows& x) { return x.totals; }
  static Vec add_scaled(Vec sums, Vec scale, Vec, Vec acc) { return fma(sums, scale, acc); }
  static void unpack(const PackedWeight& weight, const uint8_t* group, float* scales,
                     float* corrections, uint8_t* lines) {
    const Vec scale = group_scales(weight, group);
    store(scales, scale);
    if (weight.has_zeros) store(corrections, group_corrections(weight, group, scale));
    decode_lines<kCode>(group + lines_offset(weight), lines_of_group(weight),
                        table_of(weight.values), reinterpret_cast<Value*>(lines));
  }
};

/// For tiles: rows in blocks of 16, after the last one zeros, the steps of a row 16 rows apart.
struct TileRows {
  using Element = Value;
  static constexpr size_t kBlock = kBlockRows, kStep = kBlockRows * 32;
  static void store_values(Value* p, __m256i rounded) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded);
  }
};
/// Without tiles: rows one by one in float32.
struct FloatRows {
  using Element = float;
  static constexpr size_t kBlock = 1, kStep = 32;
  static void store_values(float* p, __m256i rounded) { store(p, floats_of_bf16(rounded)); }
};

/// A group of a row of x. Returns the sum.
template <typename Rows, PackedCode kCode, typename Input>
float prepare_group(const Input* x, size_t count, size_t stride, typename Rows::Element* out) {
  Vec total = zero();
  for (size_t i = 0; i < stride; i += kLanes) {
    const size_t left = i < count ? std::min<size_t>(count - i, kLanes) : 0;
    const Vec v = left == kLanes ? Whole{i}.get(x) : Part{i, left}.get(x);
    const __m256i rounded = round_in_order<kCode>(v);
    Rows::store_values(out + i / 32 * Rows::kStep + i % 32, rounded);
    total = add(total, floats_of_bf16(rounded));
  }
  return sum(total);
}

template <typename Rows, PackedCode kCode, typename Input>
void prepare_rows_of(const PackedWeight& weight, const PrepareArgs& args, const Input* all) {
  using Element = typename Rows::Element;
  constexpr size_t kBlock = Rows::kBlock;
  for (size_t row = 0; row < (args.m + kBlock - 1) / kBlock * kBlock; ++row) {
    Element* out = static_cast<Element*>(args.values) +
                   row / kBlock * kBlock * weight.padded_cols() + row % kBlock * 32;
    for (size_t g = 0; g < weight.groups; ++g, out += weight.group_stride * kBlock) {
      const size_t first = g * weight.group;
      const size_t count = row < args.m ? std::min(weight.group, weight.cols - first) : 0;
      const Input* const x = all + (row < args.m ? row * args.ldx + first : 0);
      const float total = prepare_group<Rows, kCode>(x, count, weight.group_stride, out);
      if (args.totals != nullptr)
        args.totals[(row / kBlock * weight.groups + g) * kBlock + row % kBlock] = total;
    }
  }
}

/// 32 values of a row in bf16, zeros after `left`.
inline __m512i step_of(const uint16_t* x, size_t left) {
  return left >= 32 ? _mm512_loadu_si512(x)
                    : _mm512_maskz_loadu_epi16((__mmask32{1} << left) - 1, x);
}
inline __m512i step_of(const float* x, size_t left) {
  const Vec low = left >= kLanes ? load(x) : load_partial(x, left);
  const Vec high = left >= 2 * kLanes ? load(x + kLanes)
                   : left > kLanes    ? load_partial(x + kLanes, left - kLanes)
                                      : zero();
  return (__m512i)_mm512_cvtne2ps_pbh(high.v, low.v);
}

/// As prepare_rows_of for tiles and columns in their natural order, whose sums nobody wants.
template <typename Input>
void prepare_steps(const PackedWeight& weight, const PrepareArgs& args, const Input* all) {
  const size_t stride = weight.padded_cols(), blocks = (args.m + kBlockRows - 1) / kBlockRows;
  for (size_t row = 0; row < blocks * kBlockRows; ++row) {
    Value* out = static_cast<Value*>(args.values) + row / kBlockRows * kBlockRows * stride +
                 row % kBlockRows * 32;
    const size_t cols = row < args.m ? weight.cols : 0;
    const Input* const x = all + (row < args.m ? row * args.ldx : 0);
    for (size_t i = 0; i < stride; i += 32, out += TileRows::kStep)
      _mm512_storeu_si512(out, i < cols ? step_of(x + i, cols - i) : _mm512_setzero_si512());
  }
}

template <typename Rows, typename Input>
void prepare_values(const PackedWeight& weight, const PrepareArgs& args, const Input* x) {
  constexpr bool kTiles = std::is_same_v<Rows, TileRows>;
  const bool plain = weight.code == PackedCode::kSixteenBit && args.totals == nullptr;
  if (kTiles && plain) return prepare_steps(weight, args, x);
  if (weight.code == PackedCode::kFourBit)
    prepare_rows_of<Rows, PackedCode::kFourBit>(weight, args, x);
  else
    prepare_rows_of<Rows, PackedCode::kSixteenBit>(weight, args, x);  // in their natural order
}

template <typename Rows>
void prepare(const PackedWeight& weight, const PrepareArgs& args) {
  if (args.halves != nullptr)
    prepare_values<Rows>(weight, args, args.halves);
  else
    prepare_values<Rows>(weight, args, args.x);
}

/// The most rows for which no tiles are faster. Measured.
constexpr size_t kMostWithoutTiles = 4;

/// Groups are whole steps.
bool takes(const PackedWeight& weight, size_t m) {
  return weight.group_stride % 32 == 0 && m > kMostWithoutTiles;
}
bool takes_few(const PackedWeight& weight, size_t m) {
  return weight.group_stride % 32 == 0 && m <= kMostWithoutTiles;
}

void product(const PackedWeight& weight, const PackedProductArgs& args) {
  const FlushSubnormals flush;
  if (is_dequantized(weight)) return PlainProduct<DequantizedLines>(weight, args).run();
  if (weight.code == PackedCode::kFourBit)
    return multiply_in_tiles<Bf16Kind<PackedCode::kFourBit>>(weight, args);
  if (weight.code == PackedCode::kEightBit)
    return multiply_in_tiles<Bf16Kind<PackedCode::kEightBit>>(weight, args);
  PlainProduct<StoredLines>(weight, args).run();
}

const LowRankKernels kLowRankInTiles = {kBlockRows, prepare<TileRows>, add_low_rank_in_tiles};

}  // namespace

const PackedKernels packed_bf16_amx = {
    prepare<TileRows>, product, product, kBlockRows, panel_tiles(64),  sizeof(Value), kBlockRows,
    kCachedRows,       takes,   true,    true,       &kLowRankInTiles, true};
const PackedKernels packed_bf16_amx_few = {prepare<FloatRows>,
                                           few_without_tiles,
                                           few_without_tiles,
                                           kMostWithoutTiles,
                                           panel_tiles(64),
                                           sizeof(float),
                                           1,
                                           0,
                                           takes_few,
                                           true,
                                           true,
                                           &kLowRankInTiles};

}  // namespace llmkit
