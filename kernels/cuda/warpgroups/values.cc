#include "cuda/warpgroups/compare.h"

namespace llmkit::cuda {
namespace {

/// Numbers without a pattern.
class Bits {
 public:
  explicit Bits(uint32_t seed) : state_(seed * 0x9e3779b9u + 1) {}
  uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    state_ ^= state_ << 5;
    return state_ * 0x846ca68bu >> 8;
  }
  /// A number of [low, high].
  int between(int low, int high) {
    return low + static_cast<int>(next() % static_cast<uint32_t>(high - low + 1));
  }

 private:
  uint32_t state_;
};

constexpr int kBias = 127;

/// ± 1.m · 2^exponent in bf16, with 7 bits of m; subnormal where the exponent is -kBias.
uint16_t bf16_bits(uint32_t sign, int exponent, uint32_t mantissa) {
  return static_cast<uint16_t>((sign & 1) << 15 | static_cast<uint32_t>(exponent + kBias) << 7 |
                               (mantissa & 127));
}

/// Element k of a row of a case; `before` is element k - 1.
uint16_t value_of(CompareCase which, int k, bool left, uint16_t before, Bits& bits) {
  const uint32_t sign = bits.next(), mantissa = bits.next();
  switch (which) {
    case CompareCase::kWide:
      return bf16_bits(sign, bits.between(-16, 15), mantissa);
    case CompareCase::kCancelling:
      if (k % 2 == 0) return bf16_bits(sign, bits.between(-4, 4), mantissa);
      // a changes its sign, b goes to a neighbour.
      return left ? before ^ 0x8000 : before ^ 1;
    case CompareCase::kOneLarge:
      return bf16_bits(sign, k % 16 == 5 ? bits.between(2, 6) : bits.between(-6, -4), mantissa);
    case CompareCase::kSubnormal:
      // The smallest values meet some around 1, others one another.
      if (k % 4 == 0) return bf16_bits(sign, left ? -kBias : bits.between(-3, 3), mantissa);
      return bf16_bits(sign, bits.between(-70, -60), mantissa);
    case CompareCase::kGrowing:
      return bf16_bits(0, bits.between(-1, 1), mantissa);
    case CompareCase::kZeros:
      if (bits.between(0, 63) > 0) return bf16_bits(sign, -kBias, 0);
      return bf16_bits(sign, bits.between(-4, 4), mantissa);
  }
  return 0;
}

}  // namespace

std::vector<uint16_t> compare_values(CompareCase which) {
  std::vector<uint16_t> values(kCaseValues);
  Bits bits(static_cast<uint32_t>(which) + 1);
  for (size_t i = 0; i < values.size(); ++i) {
    const int k = static_cast<int>(i % kCompareDepth);
    values[i] = value_of(which, k, i < kLeftValues, k == 0 ? uint16_t{0} : values[i - 1], bits);
  }
  return values;
}

}  // namespace llmkit::cuda
