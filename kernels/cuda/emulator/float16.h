#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda/emulator/vector_types.h"

// __nv_bfloat16 and __half: conversions round to the nearest, ties to even, as the hardware does. A
// sum, product, quotient or root of two is computed in float32 and rounded again, which gives the
// nearest value (24 bits are twice 11 and 2 more).

namespace llmkit::cuda::emulator {

/// The 16 upper bits of the nearest bf16 value; the one NaN that the hardware has.
inline uint16_t bf16_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (value != value) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline float bf16_value(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

/// Half precision with `x` as its value; beyond 65504 and a half step it is infinite.
inline uint16_t half_bits(float x) {
  if (x != x) return 0x7fff;
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const float size = std::fabs(x);
  if (size >= 65520.0f) return sign | 0x7c00;
  if (size == 0) return sign;
  int exponent;
  std::frexp(size, &exponent);
  if (size == 0 || exponent < -13) exponent = -13;  // subnormal: steps of 2^-24
  const float steps = std::nearbyintf(std::ldexp(size, 11 - exponent));
  // A carry into the next exponent comes out of the addition.
  return static_cast<uint16_t>(sign + ((exponent + 13) << 10) + static_cast<int>(steps));
}
inline float half_value(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float size;
  if (exponent == 31)
    size = fraction == 0 ? __builtin_inff() : __builtin_nanf("");
  else if (exponent == 0)
    size = std::ldexp(static_cast<float>(fraction), -24);
  else
    size = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return bits & 0x8000 ? -size : size;
}

/// a * b + c to 53 bits, the last of them set when anything was lost: then rounding it once more
/// gives what rounding the exact value would.
inline float fma_to_odd(float a, float b, float c) {
  const double product = static_cast<double>(a) * b, sum = product + c;
  const double back = sum - product;
  const double lost = (product - (sum - back)) + (c - back);
  double odd = sum;
  if (lost != 0 && std::isfinite(sum)) {
    uint64_t bits;
    std::memcpy(&bits, &odd, sizeof(bits));
    if (!(bits & 1)) odd = std::nextafter(sum, lost > 0 ? HUGE_VAL : -HUGE_VAL);
  }
  // To 24 bits in the same way.
  float nearest = static_cast<float>(odd);
  if (static_cast<double>(nearest) != odd && std::isfinite(nearest)) {
    uint32_t bits;
    std::memcpy(&bits, &nearest, sizeof(bits));
    if (!(bits & 1)) nearest = std::nextafterf(nearest, odd > nearest ? HUGE_VALF : -HUGE_VALF);
  }
  return nearest;
}

}  // namespace llmkit::cuda::emulator

#define LLMKIT_FLOAT16(Name, Pair, to_bits, to_value)                                  \
  struct Name {                                                                        \
    uint16_t bits;                                                                     \
    Name() = default;                                                                  \
    Name(float value) : bits(llmkit::cuda::emulator::to_bits(value)) {}                \
    operator float() const { return llmkit::cuda::emulator::to_value(bits); }          \
  };                                                                                   \
  struct alignas(4) Pair {                                                             \
    Name x, y;                                                                         \
    Pair() = default;                                                                  \
    Pair(Name x, Name y) : x(x), y(y) {}                                               \
  };                                                                                   \
  inline Name __hadd(Name a, Name b) { return Name(float(a) + float(b)); }             \
  inline Name __hsub(Name a, Name b) { return Name(float(a) - float(b)); }             \
  inline Name __hmul(Name a, Name b) { return Name(float(a) * float(b)); }             \
  inline Name __hdiv(Name a, Name b) { return Name(float(a) / float(b)); }             \
  inline Name __hneg(Name a) { return Name(-float(a)); }                               \
  inline Name __habs(Name a) { return Name(std::fabs(float(a))); }                     \
  inline Name __hmax(Name a, Name b) { return Name(std::fmax(float(a), float(b))); }   \
  inline Name __hmin(Name a, Name b) { return Name(std::fmin(float(a), float(b))); }   \
  inline Name __hfma(Name a, Name b, Name c) {                                         \
    return Name(llmkit::cuda::emulator::fma_to_odd(float(a), float(b), float(c)));     \
  }                                                                                    \
  inline Pair __hadd2(Pair a, Pair b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; } \
  inline Pair __hsub2(Pair a, Pair b) { return {__hsub(a.x, b.x), __hsub(a.y, b.y)}; } \
  inline Pair __hmul2(Pair a, Pair b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; } \
  inline Pair __hfma2(Pair a, Pair b, Pair c) {                                        \
    return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};                             \
  }

LLMKIT_FLOAT16(__nv_bfloat16, __nv_bfloat162, bf16_bits, bf16_value)
LLMKIT_FLOAT16(__half, __half2, half_bits, half_value)
#undef LLMKIT_FLOAT16

using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;
using half = __half;
using half2 = __half2;

inline __nv_bfloat16 __float2bfloat16(float x) { return {x}; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {x}; }
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) { return {v.x, v.y}; }
inline __nv_bfloat162 __float2bfloat162_rn(float x) { return {x, x}; }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x) { return {x, x}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
inline float __low2float(__nv_bfloat162 v) { return v.x; }
inline float __high2float(__nv_bfloat162 v) { return v.y; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) { return v.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) { return v.y; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  __nv_bfloat16 x;
  x.bits = bits;
  return x;
}

inline __half __float2half(float x) { return {x}; }
inline __half __float2half_rn(float x) { return {x}; }
inline float __half2float(__half x) { return x; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __float22half2_rn(float2 v) { return {v.x, v.y}; }
inline __half2 __half2half2(__half x) { return {x, x}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline float2 __half22float2(__half2 v) { return {v.x, v.y}; }
inline float __low2float(__half2 v) { return v.x; }
inline float __high2float(__half2 v) { return v.y; }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short bits) {
  __half x;
  x.bits = bits;
  return x;
}
