#pragma once

// Elementary functions over Vec: include base/simd/<isa>.h first. A value gives the same bits in
// every lane. The polynomials were fitted here by Chebyshev interpolation, in double.

namespace llmkit {
namespace {  // a copy per instruction set

inline Vec negate(Vec a) { return as_float(bit_xor(as_int(a), splat_int(0x80000000))); }
inline Vec magnitude(Vec a) { return as_float(bit_and(as_int(a), splat_int(0x7fffffff))); }
inline Vec with_sign_of(Vec a, Vec sign) {
  return as_float(bit_or(as_int(a), bit_and(as_int(sign), splat_int(0x80000000))));
}

/// Horner's rule, the highest power first.
template <int kCount>
inline Vec polynomial(Vec x, const float (&coefficients)[kCount]) {
  Vec y = splat(coefficients[0]);
#pragma GCC unroll 16
  for (int i = 1; i < kCount; ++i) y = fma(y, x, splat(coefficients[i]));
  return y;
}

// ln 2 in two parts; a small integer times the first is exact.
constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 1.42860682e-6f;

/// e^x to 2 units in the last place, for x in [-104, 88.8].
inline Vec exp_within(Vec x) {
  const Vec shift = splat(12582912.0f);  // 1.5·2^23: what is added to it is rounded to a whole
  const Vec whole = sub(fma(x, splat(1.44269504f), shift), shift);
  const Vec r = fma(whole, splat(-kLn2Low), fma(whole, splat(-kLn2High), x));
  const float coefficients[] = {0.00138145394f, 0.00836874545f, 0.041668389f, 0.166665211f,
                                0.49999994f,    1.0f,           1.0f};
  return times_power_of_two(polynomial(r, coefficients), whole);
}

/// The same for every x; e^-inf is 0.
inline Vec exp(Vec x) { return exp_within(larger(splat(-104), smaller(splat(88.8f), x))); }

/// e^x for x <= 0, and e^-60 below -60. A softmax cannot tell that from 0, and the products of
/// smaller numbers may be denormal, which makes a processor stumble.
inline Vec exp_of_negative(Vec x) { return exp_within(larger(splat(-60), x)); }

/// Natural logarithm; -inf at 0, NaN below.
inline Vec log(Vec x) {
  const Mask tiny = less(x, splat(0x1p-126f));
  const Vec scaled = select(tiny, mul(x, splat(0x1p23f)), x);
  const Index bits = as_int(scaled);
  // The mantissa is put into [sqrt(1/2), sqrt(2)): 0x3f3504f3 is sqrt(1/2).
  const Index exponent = shift_right_signed<23>(sub(bits, splat_int(0x3f3504f3)));
  const Vec f = sub(as_float(sub(bits, shift_left<23>(exponent))), splat(1));
  const Vec e = sub(to_float(exponent), select(tiny, splat(23), splat(0)));
  // log(1 + f) = 2 atanh(s), s = f / (2 + f), arranged so that f itself is not rounded.
  const Vec s = div(f, add(f, splat(2)));
  const float odd[] = {2.0f / 9, 2.0f / 7, 2.0f / 5, 2.0f / 3, 0};
  const Vec rest = polynomial(mul(s, s), odd);
  const Vec half_square = mul(splat(0.5f), mul(f, f));
  const Vec correction = fma(s, add(half_square, rest), mul(e, splat(kLn2Low)));
  const Vec y = fma(e, splat(kLn2High), sub(f, sub(half_square, correction)));
  const Vec infinity = splat(__builtin_inff());
  const Vec finite = select(less(x, infinity), y, x);
  return select(equal(x, zero()), negate(infinity),
                select(less(x, zero()), splat(__builtin_nanf("")), finite));
}

inline Vec sigmoid(Vec x) { return div(splat(1), add(splat(1), exp(negate(x)))); }

inline Vec tanh(Vec x) {
  const Vec a = magnitude(x);
  const Vec square = mul(x, x);
  const float odd[] = {0.00221836288f, -0.00827612635f, 0.02174755f,
                       -0.0539565571f, 0.133332923f,    -0.333333343f};
  const Vec near_zero = fma(mul(x, square), polynomial(square, odd), x);
  const Vec far = sub(splat(1), div(splat(2), add(exp(add(a, a)), splat(1))));
  return with_sign_of(select(less(a, splat(0.625f)), near_zero, far), x);
}

inline Vec erf(Vec x) {
  const Vec a = smaller(splat(10), magnitude(x));
  const Vec square = mul(a, a);
  const float odd[] = {7.88249745e-05f, -0.00080188555f, 0.00518931216f, -0.0268543288f,
                       0.112835974f,    -0.37612626f,    1.12837911f};
  const Vec near_zero = mul(x, polynomial(square, odd));
  // 1 - e^(-x²) q(t): q is fitted in t = 1 / (1 + x/2) to e^(x²) erfc(x), 1 <= x <= 10.
  const float complement[] = {0.0737769976f, -0.161703184f, -0.00753815332f,
                              0.130613554f,  0.146174505f,  0.256417215f,
                              0.280385435f,  0.282257944f,  -6.49183266e-06f};
  const Vec t = div(splat(1), fma(a, splat(0.5f), splat(1)));
  const Vec far = sub(splat(1), mul(exp(negate(square)), polynomial(t, complement)));
  return with_sign_of(select(less(a, splat(1)), near_zero, far), x);
}

}  // namespace
}  // namespace llmkit
