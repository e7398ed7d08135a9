#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

// CUDA's mathematical functions that a C++ library lacks. fmaf, exp2f, erff and the others of C are
// the library's: within an ulp or two of CUDA's, not its bits.

#define CUDART_INF_F __builtin_inff()
#define CUDART_NAN_F __builtin_nanf("")
#define CUDART_PI_F 3.141592654f

#define LLMKIT_MIN_MAX(T)                          \
  inline T min(T a, T b) { return b < a ? b : a; } \
  inline T max(T a, T b) { return a < b ? b : a; }
LLMKIT_MIN_MAX(int)
LLMKIT_MIN_MAX(unsigned)
LLMKIT_MIN_MAX(long)
LLMKIT_MIN_MAX(unsigned long)
LLMKIT_MIN_MAX(long long)
LLMKIT_MIN_MAX(unsigned long long)
#undef LLMKIT_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline float rsqrtf(float x) { return static_cast<float>(1 / std::sqrt(static_cast<double>(x))); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float rcbrtf(float x) { return 1 / cbrtf(x); }
inline float exp10f(float x) { return static_cast<float>(std::pow(10.0, static_cast<double>(x))); }
inline float normcdff(float x) {
  return static_cast<float>(0.5 * std::erfc(-static_cast<double>(x) * 0.70710678118654752440));
}
inline float __saturatef(float x) { return x >= 1 ? 1.0f : x > 0 ? x : 0.0f; }

// Operations that are rounded once and never fused with others.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1 / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

// The fast ones, which are less accurate on a device.
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __tanhf(float x) { return tanhf(x); }

/// Conversions saturate and NaN becomes 0, as on a device; in C++ both are undefined.
template <class Int>
Int llmkit_saturated(double x) {
  constexpr double kLow = static_cast<double>(std::numeric_limits<Int>::min());
  constexpr double kHigh = static_cast<double>(std::numeric_limits<Int>::max());
  if (x != x) return 0;
  if (x <= kLow) return std::numeric_limits<Int>::min();
  return x >= kHigh ? std::numeric_limits<Int>::max() : static_cast<Int>(x);
}
#define LLMKIT_CONVERSIONS(name, Int)                                                              \
  inline Int __float2##name##_rn(float x) {                                                        \
    return llmkit_saturated<Int>(std::nearbyint(double{x}));                                       \
  }                                                                                                \
  inline Int __float2##name##_rd(float x) { return llmkit_saturated<Int>(std::floor(double{x})); } \
  inline Int __float2##name##_ru(float x) { return llmkit_saturated<Int>(std::ceil(double{x})); }  \
  inline Int __float2##name##_rz(float x) { return llmkit_saturated<Int>(double{x}); }
LLMKIT_CONVERSIONS(int, int)
LLMKIT_CONVERSIONS(uint, unsigned)
#undef LLMKIT_CONVERSIONS
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
