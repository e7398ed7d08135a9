#pragma once

#include "base/simd/loops.h"
#include "base/simd/math.h"
#include "cpu/activation/activation.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

/// A function's value and slope at the same point.
struct Point {
  Vec value, slope;
};

inline Vec one_minus(Vec a) { return sub(splat(1), a); }

struct Sigmoid {
  static Vec value(Vec x) { return sigmoid(x); }
  static Point point(Vec x) {
    const Vec s = sigmoid(x);
    return {s, mul(s, one_minus(s))};
  }
};

struct Silu {
  static Vec value(Vec x) { return mul(x, sigmoid(x)); }
  static Point point(Vec x) {
    const Vec s = sigmoid(x);
    return {mul(x, s), mul(s, fma(x, one_minus(s), splat(1)))};
  }
};

struct QuickGelu {
  static Vec value(Vec x) { return mul(x, sigmoid(mul(x, splat(1.702f)))); }
  static Point point(Vec x) {
    const Vec scaled = mul(x, splat(1.702f)), s = sigmoid(scaled);
    return {mul(x, s), mul(s, fma(scaled, one_minus(s), splat(1)))};
  }
};

struct Gelu {
  static Vec probability(Vec x) {
    const Vec e = erf(mul(x, splat(0.707106781f)));
    return mul(splat(0.5f), add(splat(1), e));
  }
  static Vec value(Vec x) { return mul(x, probability(x)); }
  static Point point(Vec x) {
    const Vec p = probability(x);
    const Vec bell = exp(mul(splat(-0.5f), mul(x, x)));
    const Vec density = mul(splat(0.398942280f), bell);  // 1 / sqrt(2 pi)
    return {mul(x, p), fma(x, density, p)};
  }
};

struct GeluTanh {
  static constexpr float kOuter = 0.797884561f, kCubic = 0.044715f;  // sqrt(2 / pi)
  static Vec inner(Vec x) {
    return tanh(mul(splat(kOuter), fma(mul(splat(kCubic), mul(x, x)), x, x)));
  }
  static Vec half_of(Vec x, Vec t) { return mul(mul(splat(0.5f), x), add(splat(1), t)); }
  static Vec value(Vec x) { return half_of(x, inner(x)); }
  static Point point(Vec x) {
    const Vec t = inner(x);
    const Vec argument = mul(splat(kOuter), fma(splat(3 * kCubic), mul(x, x), splat(1)));
    const Vec bend = mul(mul(mul(splat(0.5f), x), one_minus(mul(t, t))), argument);
    return {half_of(x, t), fma(splat(0.5f), add(splat(1), t), bend)};
  }
};

struct Relu {
  static Vec value(Vec x) { return larger(zero(), x); }  // keeps NaN
  static Point point(Vec x) { return {value(x), select(less(zero(), x), splat(1), zero())}; }
};

struct Tanh {
  static Vec value(Vec x) { return tanh(x); }
  static Point point(Vec x) {
    const Vec t = tanh(x);
    return {t, one_minus(mul(t, t))};
  }
};

template <typename F>
inline void value_of(size_t n, const float* x, float* y) {
  each_chunk(n, [&](auto c) { c.put(y, F::value(c.get(x))); });
}

template <typename F>
inline void gradient_of(size_t n, const float* x, const float* dy, float* dx) {
  each_chunk(n, [&](auto c) { c.put(dx, mul(c.get(dy), F::point(c.get(x)).slope)); });
}

template <typename F>
inline void gated_of(size_t n, const float* gate, const float* up, float* y) {
  each_chunk(n, [&](auto c) { c.put(y, mul(F::value(c.get(gate)), c.get(up))); });
}

template <typename F>
inline void gated_gradient_of(size_t n, const GatedGradFloats& p) {
  each_chunk(n, [&](auto c) {
    const Point at = F::point(c.get(p.gate));
    const Vec dy = c.get(p.dy), up = c.get(p.up);
    c.put(p.dgate, mul(mul(dy, up), at.slope));
    c.put(p.dup, mul(dy, at.value));
  });
}

// In the order of enum Activation.
#define LLMKIT_ACTIVATION_TABLE(of) \
  { of<Silu>, of<Gelu>, of<GeluTanh>, of<QuickGelu>, of<Relu>, of<Sigmoid>, of<Tanh> }

}  // namespace
}  // namespace llmkit
