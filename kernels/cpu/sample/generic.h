#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/sample/sample.h"

// Float64 lanes as a vector type of the compiler, which makes of it what the file's instruction set
// has. Every operation is rounded alike everywhere, and there are eight sums whatever the width of
// the registers, so that the bits are the same.

namespace llmkit {
namespace {  // a copy per instruction set

#if defined(__AVX512F__)
#define LLMKIT_VECTOR_BYTES 64
#elif defined(__AVX__)
#define LLMKIT_VECTOR_BYTES 32
#else
#define LLMKIT_VECTOR_BYTES 16
#endif
typedef double Doubles __attribute__((vector_size(LLMKIT_VECTOR_BYTES)));
typedef int64_t Longs __attribute__((vector_size(LLMKIT_VECTOR_BYTES)));
typedef int32_t Ints __attribute__((vector_size(LLMKIT_VECTOR_BYTES / 2)));
typedef float Floats __attribute__((vector_size(LLMKIT_VECTOR_BYTES / 2)));
constexpr size_t kWidth = LLMKIT_VECTOR_BYTES / sizeof(double);
constexpr size_t kParts = kSampleLanes / kWidth;

/// One register of lanes, in a struct: how a bare vector is passed depends on the instruction set.
struct Lanes {
  Doubles v;
};

inline Lanes load(const double* p) {
  Lanes x;
  std::memcpy(&x.v, p, sizeof x.v);
  return x;
}
inline void store(double* p, const Lanes& x) { std::memcpy(p, &x.v, sizeof x.v); }
inline Lanes splat(double value) { return {Doubles{} + value}; }

/// Eight lanes: kParts registers.
struct Eight {
  Lanes part[kParts];
  explicit Eight(double value) {
    for (Lanes& p : part) p = splat(value);
  }
};

inline double add_lanes(const Eight& x) {
  double total = 0;
  for (const Lanes& part : x.part)
    for (size_t i = 0; i < kWidth; ++i) total += part.v[i];
  return total;
}
inline double largest_lane(const Eight& x) {
  double most = x.part[0].v[0];
  for (const Lanes& part : x.part)
    for (size_t i = 0; i < kWidth; ++i) most = part.v[i] > most ? part.v[i] : most;
  return most;
}

/// e^x for x <= 0, operation by operation as fdlibm's e_exp.c, which JavaScript engines use: so
/// both backends give a token the same weight. https://www.netlib.org/fdlibm/e_exp.c
inline Lanes exp_of_negative(const Lanes& argument) {
  const Doubles lowest = splat(-746).v, full = argument.v;
  const Doubles x = full > lowest ? full : lowest;  // e^-746 is 0
  const Ints whole = __builtin_convertvector(1.44269504088896338700 * x - 0.5, Ints);
  const Doubles no_turn = splat(0).v;
  const Doubles k = x > -0x1.62e43p-2 ? no_turn : __builtin_convertvector(whole, Doubles);
  const Doubles high = x - k * 6.93147180369123816490e-01;
  const Doubles low = k * 1.90821492927058770002e-10;
  const Doubles r = high - low, t = r * r;
  const Doubles tail = 6.61375632143793436117e-05 +
                       t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08);
  const Doubles c =
      r - t * (1.66666666666666019037e-01 + t * (-2.77777777770155933842e-03 + t * tail));
  const Doubles y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
  // In two steps where 2^k is below the normal numbers.
  const Doubles one = splat(1).v, far = splat(0x1p-1000).v, shifted = k + 1000.0;
  const auto tiny = k < -1021.0;
  const Doubles near_exponent = tiny ? shifted : k;
  const Longs exponent =
      __builtin_convertvector(__builtin_convertvector(near_exponent, Ints), Longs) + 1023;
  const Longs bits = exponent << 52;
  Doubles power;
  std::memcpy(&power, &bits, sizeof power);
  const Doubles scaled = y * power * (tiny ? far : one), small = 1.0 + x;
  return {x > -0x1p-28 ? small : scaled};
}

inline void widen(size_t n, const float* x, double* y) {
  const Doubles lowest = splat(-__builtin_inf()).v;
  for (size_t i = 0; i < n; i += kWidth) {
    Floats narrow;
    std::memcpy(&narrow, x + i, sizeof narrow);
    const Doubles wide = __builtin_convertvector(narrow, Doubles);
    store(y + i, {wide == wide ? wide : lowest});
  }
}

inline double largest(size_t n, const double* x) {
  Eight most(-__builtin_inf());
  for (size_t i = 0; i < n; i += kSampleLanes)
    for (size_t p = 0; p < kParts; ++p) {
      const Doubles value = load(x + i + p * kWidth).v;
      most.part[p].v = value > most.part[p].v ? value : most.part[p].v;
    }
  return largest_lane(most);
}

inline float largest_logit(size_t n, const float* x) {
  constexpr size_t kChains = 4;
  Floats most[kChains];
  for (Floats& m : most) m = Floats{} - __builtin_inff();
  size_t i = 0;
  for (; i + kChains * kWidth <= n; i += kChains * kWidth)
    for (size_t chain = 0; chain < kChains; ++chain) {
      Floats value;
      std::memcpy(&value, x + i + chain * kWidth, sizeof value);
      most[chain] = value > most[chain] ? value : most[chain];
    }
  float largest = -__builtin_inff();
  for (const Floats& m : most)
    for (size_t lane = 0; lane < kWidth; ++lane) largest = m[lane] > largest ? m[lane] : largest;
  for (; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

inline void weigh(size_t n, double most, double temperature, double* x) {
  for (size_t i = 0; i < n; i += kWidth)
    store(x + i, exp_of_negative({(load(x + i).v - most) / temperature}));
}

inline SampleAbove above(size_t n, const double* x, double limit) {
  const Doubles nothing = splat(0).v, one = splat(1).v;
  Eight total(0), count(0);
  for (size_t i = 0; i < n; i += kSampleLanes)
    for (size_t p = 0; p < kParts; ++p) {
      const Doubles value = load(x + i + p * kWidth).v;
      const auto over = value > limit;
      total.part[p].v += over ? value : nothing;
      count.part[p].v += over ? one : nothing;
    }
  return {static_cast<size_t>(add_lanes(count)), add_lanes(total)};
}

/// Whether any of 32 values is in (low, high].
inline bool any_between(const double* x, double low, double high) {
  constexpr size_t kGroup = 32;
  Longs found = {};
  for (size_t i = 0; i < kGroup; i += kWidth) {
    const Doubles value = load(x + i).v;
    found |= (value > low) & (value <= high);
  }
  int64_t any = 0;
  for (size_t i = 0; i < kWidth; ++i) any |= found[i];
  return any != 0;
}

inline size_t between(size_t n, const double* x, double low, double high, int32_t* places) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    while (i % 32 == 0 && i + 32 <= n && !any_between(x + i, low, high)) i += 32;
    if (i == n) break;
    places[count] = static_cast<int32_t>(i);
    count += (x[i] > low) & (x[i] <= high);
  }
  return count;
}

inline void clear(size_t n, double limit, double* x) {
  const Doubles nothing = splat(0).v;
  for (size_t i = 0; i < n; i += kWidth) {
    const Doubles value = load(x + i).v;
    store(x + i, {value > limit ? value : nothing});
  }
}

inline double sum(size_t n, const double* x) {
  Eight total(0);
  for (size_t i = 0; i < n; i += kSampleLanes)
    for (size_t p = 0; p < kParts; ++p) total.part[p].v += load(x + i + p * kWidth).v;
  return add_lanes(total);
}

}  // namespace
}  // namespace llmkit
