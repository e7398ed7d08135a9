#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

// The 16-lane vector of README.md in plain C++, for every machine. fma rounds twice here.

namespace llmkit {
namespace {  // internal linkage: as in the other vector headers

constexpr int kLanes = 16;

struct Vec {
  float v[kLanes];
};
struct Index {
  uint32_t v[kLanes];
};
struct Mask {
  bool v[kLanes];
};

/// Register tiles: rows and columns of accumulators (dot form), rows and vectors (axpy form).
constexpr int kDotRows = 1, kDotCols = 2, kAxpyRows = 2, kAxpyVecs = 1;

#define LLMKIT_LANES(type, expression)                  \
  type r;                                               \
  for (int i = 0; i < kLanes; ++i) r.v[i] = expression; \
  return r

inline Mask first_lanes(size_t n) { LLMKIT_LANES(Mask, static_cast<size_t>(i) < n); }
inline Vec load(const void* p) {
  Vec r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
inline Vec splat(float x) { LLMKIT_LANES(Vec, x); }
inline Vec zero() { return splat(0); }
inline Vec load_partial(const void* p, size_t n) {
  Vec r = zero();
  if (n > 0) std::memcpy(r.v, p, n * sizeof(float));
  return r;
}
inline void store(float* p, Vec a) { std::memcpy(p, a.v, sizeof a.v); }
inline void store_partial(float* p, Vec a, size_t n) {
  if (n > 0) std::memcpy(p, a.v, n * sizeof(float));
}

inline Vec add(Vec a, Vec b) { LLMKIT_LANES(Vec, a.v[i] + b.v[i]); }
inline Vec sub(Vec a, Vec b) { LLMKIT_LANES(Vec, a.v[i] - b.v[i]); }
inline Vec mul(Vec a, Vec b) { LLMKIT_LANES(Vec, a.v[i] * b.v[i]); }
inline Vec div(Vec a, Vec b) { LLMKIT_LANES(Vec, a.v[i] / b.v[i]); }
/// The larger; b when one is NaN.
inline Vec larger(Vec a, Vec b) { LLMKIT_LANES(Vec, a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
/// The smaller; b when one is NaN.
inline Vec smaller(Vec a, Vec b) { LLMKIT_LANES(Vec, a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
inline Vec fma(Vec a, Vec b, Vec c) { LLMKIT_LANES(Vec, a.v[i] * b.v[i] + c.v[i]); }
inline Vec square_root(Vec a) { LLMKIT_LANES(Vec, __builtin_sqrtf(a.v[i])); }

inline Mask less(Vec a, Vec b) { LLMKIT_LANES(Mask, a.v[i] < b.v[i]); }
inline Mask equal(Vec a, Vec b) { LLMKIT_LANES(Mask, a.v[i] == b.v[i]); }
inline Vec select(Mask m, Vec yes, Vec no) { LLMKIT_LANES(Vec, m.v[i] ? yes.v[i] : no.v[i]); }

inline Index splat_int(uint32_t x) { LLMKIT_LANES(Index, x); }
inline Index lane_numbers() { LLMKIT_LANES(Index, static_cast<uint32_t>(i)); }
inline Index add(Index a, Index b) { LLMKIT_LANES(Index, a.v[i] + b.v[i]); }
inline Index sub(Index a, Index b) { LLMKIT_LANES(Index, a.v[i] - b.v[i]); }
inline Index mul(Index a, Index b) { LLMKIT_LANES(Index, a.v[i] * b.v[i]); }
inline Index bit_and(Index a, Index b) { LLMKIT_LANES(Index, a.v[i] & b.v[i]); }
inline Index bit_or(Index a, Index b) { LLMKIT_LANES(Index, a.v[i] | b.v[i]); }
inline Index bit_xor(Index a, Index b) { LLMKIT_LANES(Index, a.v[i] ^ b.v[i]); }
template <int kBits>
inline Index shift_left(Index a) {
  LLMKIT_LANES(Index, a.v[i] << kBits);
}
template <int kBits>
inline Index shift_right(Index a) {
  LLMKIT_LANES(Index, a.v[i] >> kBits);
}
template <int kBits>
inline Index shift_right_signed(Index a) {
  LLMKIT_LANES(Index, static_cast<uint32_t>(static_cast<int32_t>(a.v[i]) >> kBits));
}
inline Index as_int(Vec a) {
  Index r;
  std::memcpy(r.v, a.v, sizeof r.v);
  return r;
}
inline Vec as_float(Index a) {
  Vec r;
  std::memcpy(r.v, a.v, sizeof r.v);
  return r;
}
inline Vec to_float(Index a) {
  LLMKIT_LANES(Vec, static_cast<float>(static_cast<int32_t>(a.v[i])));
}
/// Rounds to the nearest integer, ties to even; |a| < 2^22.
inline Index to_int(Vec a) {
  // Adding 1.5·2^23 leaves the rounded integer in the low mantissa bits.
  const Index bits = as_int(add(a, splat(12582912.0f)));
  return sub(bits, splat_int(0x4b400000));
}

/// An Index that a loop carries from turn to turn.
using Carried = Index;
inline Carried carry(Index a) { return a; }
inline Index index_of(Carried a) { return a; }

/// The larger, as signed integers.
inline Index larger(Index a, Index b) {
  const auto of = [](uint32_t x) { return static_cast<int32_t>(x); };
  LLMKIT_LANES(Index, of(a.v[i]) > of(b.v[i]) ? a.v[i] : b.v[i]);
}
inline uint32_t largest_lane(Index a) {
  int32_t most = static_cast<int32_t>(a.v[0]);
  for (const uint32_t lane : a.v) {
    const auto value = static_cast<int32_t>(lane);
    most = value > most ? value : most;
  }
  return static_cast<uint32_t>(most);
}
/// Products of signed integers of 16 bits; a is not negative.
inline Index mul_16(Index a, Index b) { return mul(a, b); }
/// The low byte of every lane.
inline void store_bytes(void* p, Index a) {
  uint8_t bytes[kLanes];
  for (int i = 0; i < kLanes; ++i) bytes[i] = static_cast<uint8_t>(a.v[i]);
  std::memcpy(p, bytes, sizeof bytes);
}
/// The low 16 bits of every lane.
inline void store_halves(void* p, Index a) {
  uint16_t halves[kLanes];
  for (int i = 0; i < kLanes; ++i) halves[i] = static_cast<uint16_t>(a.v[i]);
  std::memcpy(p, halves, sizeof halves);
}

/// Adds the product of the four unsigned bytes of a lane of `codes` with the four signed of x.
inline Index dot_bytes(Index acc, Index codes, Index x) {
  for (int shift = 0; shift < 32; shift += 8)
    for (int i = 0; i < kLanes; ++i) {
      const int32_t value = static_cast<int8_t>(x.v[i] >> shift);
      acc.v[i] += (codes.v[i] >> shift & 255) * static_cast<uint32_t>(value);
    }
  return acc;
}
/// dot_bytes of a with xa and of b with xb; the codes are at most 15.
inline Index dot_nibbles(Index acc, Index a, Index xa, Index b, Index xb) {
  return dot_bytes(dot_bytes(acc, a, xa), b, xb);
}

/// Lane j of vector i becomes lane i of vector j.
inline void transpose(Vec (&a)[kLanes]) {
  for (int i = 0; i < kLanes; ++i)
    for (int j = 0; j < i; ++j) {
      const float value = a[i].v[j];
      a[i].v[j] = a[j].v[i];
      a[j].v[i] = value;
    }
}

/// Sum of the lanes, by the tree of README.md: lanes i and i+8, then 4, 2, 1.
inline float sum(Vec a) {
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  return a.v[0];
}
/// Sums of 16 vectors, one per lane.
inline Vec sums(const Vec* a) { LLMKIT_LANES(Vec, sum(a[i])); }

/// table[index mod 16] of every lane
inline Vec lookup(Vec table, Index index) { LLMKIT_LANES(Vec, table.v[index.v[i] & 15]); }
/// The entry index mod 32 of every lane, of a table whose second half is `upper`.
inline Vec lookup(Vec lower, Vec upper, Index index) {
  LLMKIT_LANES(Vec, (index.v[i] & 16 ? upper : lower).v[index.v[i] & 15]);
}
/// 16 nibbles of 8 bytes, the low one of a byte first; only bits 0..3 of a lane count.
inline Index nibbles_low_first(const uint8_t* p) {
  LLMKIT_LANES(Index, static_cast<uint32_t>(p[i / 2] >> (i % 2 * 4)));
}
/// The same, the high one first.
inline Index nibbles_high_first(const uint8_t* p) {
  LLMKIT_LANES(Index, static_cast<uint32_t>(p[i / 2] >> (4 - i % 2 * 4)));
}
/// 16 bytes, one in each lane.
inline Index widen_u8(const uint8_t* p) { LLMKIT_LANES(Index, p[i]); }
inline Vec load_u8(const uint8_t* p) { return to_float(widen_u8(p)); }
inline Vec load_s8(const int8_t* p) { LLMKIT_LANES(Vec, static_cast<float>(p[i])); }
inline Vec load_bf16(const uint8_t* p) {
  uint16_t halves[kLanes];
  std::memcpy(halves, p, sizeof halves);
  Index bits;
  for (int i = 0; i < kLanes; ++i) bits.v[i] = static_cast<uint32_t>(halves[i]) << 16;
  return as_float(bits);
}
inline Vec load_f16(const uint8_t* p) {
  uint16_t halves[kLanes];
  std::memcpy(halves, p, sizeof halves);
  Index sign, magnitude;
  for (int i = 0; i < kLanes; ++i) {
    sign.v[i] = (halves[i] & 0x8000u) << 16;
    magnitude.v[i] = (halves[i] & 0x7fffu) << 13;
    if (magnitude.v[i] >= 0x0f800000u) magnitude.v[i] += 0x70000000u;  // infinity and NaN
  }
  // 2^112 moves the exponent's bias from 15 to 127; it turns subnormal halves into normal floats.
  Vec value = mul(as_float(magnitude), splat(0x1p112f));
  for (int i = 0; i < kLanes; ++i)
    if (magnitude.v[i] >= 0x7f800000u) std::memcpy(&value.v[i], &magnitude.v[i], sizeof(float));
  return as_float(bit_or(as_int(value), sign));
}
#undef LLMKIT_LANES

}  // namespace
}  // namespace llmkit

#include "base/simd/power_of_two.h"
