#pragma once

#include <cstdint>
#include <cstring>

#include "base/packed_weight.h"

namespace llmkit {
namespace {  // a copy per instruction set

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// A finite number >= 0 as bf16 holds it: the nearest, ties to even.
inline float as_bf16(float value) {
  const uint32_t bits = bits_of(value);
  return float_of((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

/// A finite number >= 0 as f16 holds it: the nearest, ties to even; infinite beyond 65504.
inline float as_f16(float value) {
  constexpr float kSmallestNormal = 0x1p-14f, kTooLarge = 65520.0f;
  if (value >= kTooLarge) return float_of(0x7f800000u);
  // Adding 2^-1 leaves multiples of 2^-24, the step of subnormal halves.
  if (value < kSmallestNormal) return value + 0.5f - 0.5f;
  const uint32_t bits = bits_of(value);
  return float_of((bits + 0xfff + (bits >> 13 & 1)) & 0xffffe000u);
}

inline float as_stored(float scale, ScaleType type) {
  if (type == ScaleType::kBf16) return as_bf16(scale);
  return type == ScaleType::kF16 ? as_f16(scale) : scale;
}

}  // namespace
}  // namespace llmkit
