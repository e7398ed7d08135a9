#pragma once

// Powers of two where no instruction makes them: for the end of base/simd/<isa>.h.

namespace llmkit {
namespace {  // a copy per instruction set

/// 2^n for n in [-126, 127]
inline Vec power_of_two(Index n) { return as_float(shift_left<23>(add(n, splat_int(127)))); }

/// a · 2^n for whole n in [-252, 254]
inline Vec times_power_of_two(Vec a, Vec n) {
  const Index whole = to_int(n);
  const Index half = shift_right_signed<1>(whole);  // two steps: n may be beyond the exponents
  return mul(mul(a, power_of_two(half)), power_of_two(sub(whole, half)));
}

}  // namespace
}  // namespace llmkit
