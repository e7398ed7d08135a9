#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

// The 16-lane vector of README.md on NEON: four registers, lanes 0..3, 4..7, 8..11 and 12..15.

namespace llmkit {
namespace {  // internal linkage: code built with these flags must not be shared with other files

constexpr int kLanes = 16;

struct Vec {
  float32x4_t a, b, c, d;
};
struct Index {
  uint32x4_t a, b, c, d;
};
struct Mask {
  uint32x4_t a, b, c, d;
};

/// Register tiles: rows and columns of accumulators (dot form), rows and vectors (axpy form).
constexpr int kDotRows = 2, kDotCols = 3, kAxpyRows = 6, kAxpyVecs = 1;

#define LLMKIT_QUARTERS_1(function, x) \
  { function(x.a), function(x.b), function(x.c), function(x.d) }
#define LLMKIT_QUARTERS_2(function, x, y) \
  { function(x.a, y.a), function(x.b, y.b), function(x.c, y.c), function(x.d, y.d) }
#define LLMKIT_QUARTERS_3(function, x, y, z)                               \
  {                                                                        \
    function(x.a, y.a, z.a), function(x.b, y.b, z.b), function(x.c, y.c, z.c), \
        function(x.d, y.d, z.d)                                            \
  }

inline Vec load(const void* p) {
  const float* const at = static_cast<const float*>(p);
  return {vld1q_f32(at), vld1q_f32(at + 4), vld1q_f32(at + 8), vld1q_f32(at + 12)};
}
inline Vec splat(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
inline Vec zero() { return splat(0); }
inline void store(float* p, Vec x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
// NEON has no loads and stores under a mask: they go through memory of a whole vector.
inline Vec load_partial(const void* p, size_t n) {
  float lanes[kLanes] = {};
  if (n > 0) std::memcpy(lanes, p, n * sizeof(float));
  return load(lanes);
}
inline void store_partial(float* p, Vec x, size_t n) {
  float lanes[kLanes];
  store(lanes, x);
  if (n > 0) std::memcpy(p, lanes, n * sizeof(float));
}

inline Vec add(Vec x, Vec y) { return LLMKIT_QUARTERS_2(vaddq_f32, x, y); }
inline Vec sub(Vec x, Vec y) { return LLMKIT_QUARTERS_2(vsubq_f32, x, y); }
inline Vec mul(Vec x, Vec y) { return LLMKIT_QUARTERS_2(vmulq_f32, x, y); }
inline Vec div(Vec x, Vec y) { return LLMKIT_QUARTERS_2(vdivq_f32, x, y); }
/// x·y + z, rounded once
inline Vec fma(Vec x, Vec y, Vec z) { return LLMKIT_QUARTERS_3(vfmaq_f32, z, x, y); }
inline Vec square_root(Vec x) { return LLMKIT_QUARTERS_1(vsqrtq_f32, x); }

inline Mask less(Vec x, Vec y) { return LLMKIT_QUARTERS_2(vcltq_f32, x, y); }
inline Mask equal(Vec x, Vec y) { return LLMKIT_QUARTERS_2(vceqq_f32, x, y); }
inline Vec select(Mask m, Vec yes, Vec no) { return LLMKIT_QUARTERS_3(vbslq_f32, m, yes, no); }
/// The larger; y when one is NaN.
inline Vec larger(Vec x, Vec y) { return select(less(y, x), x, y); }
/// The smaller; y when one is NaN.
inline Vec smaller(Vec x, Vec y) { return select(less(x, y), x, y); }

inline Index splat_int(uint32_t x) {
  const uint32x4_t v = vdupq_n_u32(x);
  return {v, v, v, v};
}
inline Index lane_numbers() {
  const uint32_t lanes[4] = {0, 1, 2, 3};
  const uint32x4_t first = vld1q_u32(lanes);
  return {first, vaddq_u32(first, vdupq_n_u32(4)), vaddq_u32(first, vdupq_n_u32(8)),
          vaddq_u32(first, vdupq_n_u32(12))};
}
inline Mask first_lanes(size_t n) {
  const Index lanes = lane_numbers(), count = splat_int(static_cast<uint32_t>(n));
  return LLMKIT_QUARTERS_2(vcltq_u32, lanes, count);
}
inline Index add(Index x, Index y) { return LLMKIT_QUARTERS_2(vaddq_u32, x, y); }
inline Index sub(Index x, Index y) { return LLMKIT_QUARTERS_2(vsubq_u32, x, y); }
inline Index mul(Index x, Index y) { return LLMKIT_QUARTERS_2(vmulq_u32, x, y); }
inline Index bit_and(Index x, Index y) { return LLMKIT_QUARTERS_2(vandq_u32, x, y); }
inline Index bit_or(Index x, Index y) { return LLMKIT_QUARTERS_2(vorrq_u32, x, y); }
inline Index bit_xor(Index x, Index y) { return LLMKIT_QUARTERS_2(veorq_u32, x, y); }
template <int kBits>
inline Index shift_left(Index x) {
  return {vshlq_n_u32(x.a, kBits), vshlq_n_u32(x.b, kBits), vshlq_n_u32(x.c, kBits),
          vshlq_n_u32(x.d, kBits)};
}
template <int kBits>
inline Index shift_right(Index x) {
  return {vshrq_n_u32(x.a, kBits), vshrq_n_u32(x.b, kBits), vshrq_n_u32(x.c, kBits),
          vshrq_n_u32(x.d, kBits)};
}
inline int32x4_t as_signed(uint32x4_t x) { return vreinterpretq_s32_u32(x); }
inline uint32x4_t as_unsigned(int32x4_t x) { return vreinterpretq_u32_s32(x); }
template <int kBits>
inline uint32x4_t shift_right_signed_4(uint32x4_t x) {
  return as_unsigned(vshrq_n_s32(as_signed(x), kBits));
}
template <int kBits>
inline Index shift_right_signed(Index x) {
  return LLMKIT_QUARTERS_1(shift_right_signed_4<kBits>, x);
}
inline Index as_int(Vec x) { return LLMKIT_QUARTERS_1(vreinterpretq_u32_f32, x); }
inline Vec as_float(Index x) { return LLMKIT_QUARTERS_1(vreinterpretq_f32_u32, x); }
inline float32x4_t to_float_4(uint32x4_t x) { return vcvtq_f32_s32(as_signed(x)); }
inline Vec to_float(Index x) { return LLMKIT_QUARTERS_1(to_float_4, x); }
inline uint32x4_t to_int_4(float32x4_t x) { return as_unsigned(vcvtnq_s32_f32(x)); }
/// Rounds to the nearest integer, ties to even.
inline Index to_int(Vec x) { return LLMKIT_QUARTERS_1(to_int_4, x); }

/// An Index that a loop carries from turn to turn.
using Carried = Index;
inline Carried carry(Index x) { return x; }
inline Index index_of(Carried x) { return x; }

inline uint32x4_t larger_4(uint32x4_t x, uint32x4_t y) {
  return as_unsigned(vmaxq_s32(as_signed(x), as_signed(y)));
}
/// The larger, as signed integers.
inline Index larger(Index x, Index y) { return LLMKIT_QUARTERS_2(larger_4, x, y); }
inline uint32_t largest_lane(Index x) {
  return static_cast<uint32_t>(vmaxvq_s32(as_signed(larger_4(larger_4(x.a, x.b), larger_4(x.c, x.d)))));
}
/// Products of signed integers of 16 bits; x is not negative.
inline Index mul_16(Index x, Index y) { return mul(x, y); }
/// The low 16 bits of eight lanes.
inline uint16x8_t halves_of(uint32x4_t x, uint32x4_t y) {
  return vcombine_u16(vmovn_u32(x), vmovn_u32(y));
}
/// The low byte of every lane.
inline void store_bytes(void* p, Index x) {
  const uint8x8_t low = vmovn_u16(halves_of(x.a, x.b)), high = vmovn_u16(halves_of(x.c, x.d));
  vst1q_u8(static_cast<uint8_t*>(p), vcombine_u8(low, high));
}
/// The low 16 bits of every lane.
inline void store_halves(void* p, Index x) {
  const uint16x8_t halves[2] = {halves_of(x.a, x.b), halves_of(x.c, x.d)};
  std::memcpy(p, halves, sizeof halves);
}

/// acc plus the products of the four signed bytes of a lane of x with those of y.
inline uint32x4_t dot_signed_4(uint32x4_t acc, uint32x4_t x, uint32x4_t y) {
  return as_unsigned(
      vdotq_s32(as_signed(acc), vreinterpretq_s8_u32(x), vreinterpretq_s8_u32(y)));
}
inline uint32x4_t dot_bytes_4(uint32x4_t acc, uint32x4_t codes, uint32x4_t x) {
  // The instruction takes signed bytes: code - 128, and 128 times the sum of x.
  const uint32x4_t signed_codes = veorq_u32(codes, vdupq_n_u32(0x80808080u));
  const uint32x4_t total = dot_signed_4(vdupq_n_u32(0), vdupq_n_u32(0x01010101u), x);
  return vaddq_u32(dot_signed_4(acc, signed_codes, x), vshlq_n_u32(total, 7));
}
/// Adds the product of the four unsigned bytes of a lane of `codes` with the four signed of x.
inline Index dot_bytes(Index acc, Index codes, Index x) {
  return LLMKIT_QUARTERS_3(dot_bytes_4, acc, codes, x);
}
/// dot_bytes of x with xa and of y with xb; the codes are at most 15.
inline Index dot_nibbles(Index acc, Index x, Index xa, Index y, Index xb) {
  acc = LLMKIT_QUARTERS_3(dot_signed_4, acc, x, xa);
  return LLMKIT_QUARTERS_3(dot_signed_4, acc, y, xb);
}

/// Lane j of the four registers i becomes lane i of register j.
inline void transpose_4(float32x4_t& a, float32x4_t& b, float32x4_t& c, float32x4_t& d) {
  const float32x4x2_t ab = vtrnq_f32(a, b), cd = vtrnq_f32(c, d);
  a = vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
  b = vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
  c = vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
  d = vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
}
/// Lane j of vector i becomes lane i of vector j.
inline void transpose(Vec (&x)[kLanes]) {
  Vec y[kLanes];
  for (int i = 0; i < 4; ++i) {  // the four rows of blocks
    Vec* const r = x + 4 * i;
    transpose_4(r[0].a, r[1].a, r[2].a, r[3].a);
    transpose_4(r[0].b, r[1].b, r[2].b, r[3].b);
    transpose_4(r[0].c, r[1].c, r[2].c, r[3].c);
    transpose_4(r[0].d, r[1].d, r[2].d, r[3].d);
  }
  for (int j = 0; j < 4; ++j) {
    y[j] = {x[j].a, x[4 + j].a, x[8 + j].a, x[12 + j].a};
    y[4 + j] = {x[j].b, x[4 + j].b, x[8 + j].b, x[12 + j].b};
    y[8 + j] = {x[j].c, x[4 + j].c, x[8 + j].c, x[12 + j].c};
    y[12 + j] = {x[j].d, x[4 + j].d, x[8 + j].d, x[12 + j].d};
  }
  for (int i = 0; i < kLanes; ++i) x[i] = y[i];
}

/// Lanes i and i+8, then i and i+4: the first two steps of the tree of README.md.
inline float32x4_t folded(const Vec& x) {
  return vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
}
inline float32x4_t sums_of_4(const Vec* x) {
  float32x4_t a = folded(x[0]), b = folded(x[1]), c = folded(x[2]), d = folded(x[3]);
  transpose_4(a, b, c, d);
  return vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
}
/// Sums of 16 vectors, one per lane. Each is the tree of README.md: lanes i and i+8, then 4, 2, 1.
inline Vec sums(const Vec* x) {
  return {sums_of_4(x), sums_of_4(x + 4), sums_of_4(x + 8), sums_of_4(x + 12)};
}
/// Sum of the lanes, by the same tree.
inline float sum(Vec x) {
  const float32x4_t v4 = folded(x);
  const float32x2_t v2 = vadd_f32(vget_low_f32(v4), vget_high_f32(v4));
  return vget_lane_f32(v2, 0) + vget_lane_f32(v2, 1);
}

inline float32x4_t lookup_4(const uint8x16x4_t& table, uint32x4_t index) {
  // Lane i of the table is bytes 4i .. 4i+3.
  const uint32x4_t lane = vandq_u32(index, vdupq_n_u32(15));
  const uint32x4_t bytes =
      vaddq_u32(vmulq_u32(lane, vdupq_n_u32(0x04040404u)), vdupq_n_u32(0x03020100u));
  return vreinterpretq_f32_u8(vqtbl4q_u8(table, vreinterpretq_u8_u32(bytes)));
}
/// table[index mod 16] of every lane
inline Vec lookup(Vec table, Index index) {
  const uint8x16x4_t bytes = {{vreinterpretq_u8_f32(table.a), vreinterpretq_u8_f32(table.b),
                               vreinterpretq_u8_f32(table.c), vreinterpretq_u8_f32(table.d)}};
  return {lookup_4(bytes, index.a), lookup_4(bytes, index.b), lookup_4(bytes, index.c),
          lookup_4(bytes, index.d)};
}
/// The entry index mod 32 of every lane, of a table whose second half is `upper`.
inline Vec lookup(Vec lower, Vec upper, Index index) {
  const Index in_upper = shift_right_signed<31>(shift_left<27>(index));
  const Vec a = lookup(lower, index), b = lookup(upper, index);
  return {vbslq_f32(in_upper.a, b.a, a.a), vbslq_f32(in_upper.b, b.b, a.b),
          vbslq_f32(in_upper.c, b.c, a.c), vbslq_f32(in_upper.d, b.d, a.d)};
}

inline Index widen(uint8x16_t bytes) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
  return {vmovl_u16(vget_low_u16(low)), vmovl_u16(vget_high_u16(low)),
          vmovl_u16(vget_low_u16(high)), vmovl_u16(vget_high_u16(high))};
}
/// 16 nibbles of 8 bytes, the low one of a byte first; only bits 0..3 of a lane count.
inline Index nibbles_low_first(const uint8_t* p) {
  const uint8x8_t bytes = vld1_u8(p), upper = vshr_n_u8(bytes, 4);
  return widen(vcombine_u8(vzip1_u8(bytes, upper), vzip2_u8(bytes, upper)));
}
/// The same, the high one first.
inline Index nibbles_high_first(const uint8_t* p) {
  const uint8x8_t bytes = vld1_u8(p), upper = vshr_n_u8(bytes, 4);
  return widen(vcombine_u8(vzip1_u8(upper, bytes), vzip2_u8(upper, bytes)));
}
/// 16 bytes, one in each lane.
inline Index widen_u8(const uint8_t* p) { return widen(vld1q_u8(p)); }
inline Vec load_u8(const uint8_t* p) { return to_float(widen_u8(p)); }
inline Vec load_s8(const int8_t* p) {
  const int8x16_t bytes = vld1q_s8(p);
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
          vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
          vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
          vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))};
}
inline float32x4_t load_bf16_4(const uint8_t* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}
inline Vec load_bf16(const uint8_t* p) {
  return {load_bf16_4(p), load_bf16_4(p + 8), load_bf16_4(p + 16), load_bf16_4(p + 24)};
}
inline float32x4_t load_f16_4(const uint8_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}
inline Vec load_f16(const uint8_t* p) {
  return {load_f16_4(p), load_f16_4(p + 8), load_f16_4(p + 16), load_f16_4(p + 24)};
}
#undef LLMKIT_QUARTERS_1
#undef LLMKIT_QUARTERS_2
#undef LLMKIT_QUARTERS_3

}  // namespace
}  // namespace llmkit

#include "base/simd/power_of_two.h"
