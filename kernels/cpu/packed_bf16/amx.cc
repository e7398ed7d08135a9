#include "base/simd/avx512.h"

#include "cpu/packed/amx_product.h"
#include "cpu/packed_bf16/columns_avx512_bf16.h"
#include "cpu/packed_bf16/panel.h"

namespace llmkit {
namespace {

/// 32 columns are a step, in the order in which lines are decoded.
template <PackedCode kCode>
struct Bf16Kind {
  using Value = llmkit::Value;
  static constexpr bool kPlain = kCode == PackedCode::kSixteenBit, kCorrects = true;

  template <int kSums, int kRows, int kLines>
  static void multiply() {
    tile_multiply_bf16<kSums, kRows, kLines>();
  }
  static const float* factors(const PreparedRows& x) { return x.totals; }
  static Vec add_scaled(Vec sums, Vec scales, const float*, int, Vec acc) {
    return fma(sums, scales, acc);
  }
  static void unpack(const PackedWeight& weight, const uint8_t* group, float* scales,
                     float* corrections, uint8_t* lines) {
    const Vec scale = group_scales(weight, group);
    store(scales, scale);
    if (weight.has_zeros) store(corrections, group_corrections(weight, group, scale));
    decode_lines<kCode>(group + lines_offset(weight), lines_of_group(weight),
                        table_of(weight.values), reinterpret_cast<Value*>(lines));
  }
};

/// A group of a row of x: its steps are 16 rows apart. Returns the sum.
template <PackedCode kCode>
float prepare_group(const float* x, size_t count, size_t stride, Value* out) {
  Vec total = zero();
  for (size_t i = 0; i < stride; i += kLanes) {
    const size_t left = i < count ? std::min<size_t>(count - i, kLanes) : 0;
    const Vec v = left == kLanes ? load(x + i) : load_partial(x + i, left);
    total = add(total, store_rounded<kCode>(out + i / 32 * 512 + i % 32, v, kLanes));
  }
  return sum(total);
}

template <PackedCode kCode>
void prepare_rows_of(const PackedWeight& weight, const PrepareArgs& args) {
  const size_t block = kBlockRows * weight.padded_cols();
  for (size_t row = 0; row < (args.m + 15) / 16 * 16; ++row) {
    Value* out = static_cast<Value*>(args.values) + row / 16 * block + row % 16 * 32;
    for (size_t g = 0; g < weight.groups; ++g, out += weight.group_stride * kBlockRows) {
      const size_t first = g * weight.group;
      const size_t count = row < args.m ? std::min(weight.group, weight.cols - first) : 0;
      const float* const x = args.x + (row < args.m ? row * args.ldx + first : 0);
      const float total = prepare_group<kCode>(x, count, weight.group_stride, out);
      if (args.totals != nullptr)
        args.totals[(row / 16 * weight.groups + g) * 16 + row % 16] = total;
    }
  }
}

void prepare(const PackedWeight& weight, const PrepareArgs& args) {
  if (weight.code == PackedCode::kFourBit)
    prepare_rows_of<PackedCode::kFourBit>(weight, args);
  else
    prepare_rows_of<PackedCode::kSixteenBit>(weight, args);  // in their natural order
}

/// Every row of x, or a sum would depend on m. Groups are whole steps.
bool takes(const PackedWeight& weight, size_t) { return weight.group_stride % 32 == 0; }

void product(const PackedWeight& weight, const PackedProductArgs& args) {
  if (weight.code == PackedCode::kFourBit)
    return multiply_in_tiles<Bf16Kind<PackedCode::kFourBit>>(weight, args);
  if (weight.code == PackedCode::kEightBit)
    return multiply_in_tiles<Bf16Kind<PackedCode::kEightBit>>(weight, args);
  multiply_in_tiles<Bf16Kind<PackedCode::kSixteenBit>>(weight, args);
}

}  // namespace

const PackedKernels packed_bf16_amx = {prepare,       product,    product, kBlockRows, kPanelTiles,
                                       sizeof(Value), kBlockRows, takes};

}  // namespace llmkit
