#pragma once

#include "cpu/packed_int8/generic.h"

// The product of a few rows of x and a tile where two instructions make a dot product: maddubs
// multiplies unsigned with signed bytes and adds neighbours in int16, madd with ones adds those in
// int32. Nibbles leave room to add in int16 meanwhile; a byte is taken as two nibbles.

namespace llmkit {
namespace {

/// Columns whose products with nibbles are added in int16: 16 products a lane.
constexpr size_t kNarrowCols = 32;
static_assert(kNarrowCols / 2 * 15 * 127 <= 32767, "no sum of nibbles may leave int16");

/// The sums of a row of x with 16 rows of the weight, each in two lanes of int16.
struct NarrowSums {
  __v16hi lo, hi;
};

/// Adds four columns of kRows rows of x, which follow each other.
template <int kRows>
[[gnu::always_inline]] inline void add_four(Index codes, const int8_t* x, NarrowSums (&s)[kRows]) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    int32_t four;
    std::memcpy(&four, x + 4 * i, sizeof four);
    const __m256i splat = _mm256_set1_epi32(four);
    s[i].lo += (__v16hi)_mm256_maddubs_epi16(codes.lo, splat);
    s[i].hi += (__v16hi)_mm256_maddubs_epi16(codes.hi, splat);
    // The compiler would keep the products and add them up later, for which it has no registers.
    __asm__("" : "+x"(s[i].lo), "+x"(s[i].hi));
  }
}

/// The sums of `steps` steps from step `first` of the group: of both halves of them, or of one.
/// The next four columns of x are `side` rows further.
template <bool kLow, bool kHigh, typename Source, int kRows>
[[gnu::always_inline]] inline void add_nibbles(Source& source, size_t first, size_t steps,
                                               const int8_t* x, size_t side,
                                               NarrowSums (&s)[kRows]) {
  constexpr size_t kCols = kColsOfStep<Source::kCode>;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) s[i] = {__v16hi{}, __v16hi{}};
#pragma GCC unroll 8
  for (size_t step = 0; step < steps; ++step, x += kCols * side) {
    if (kLow) add_four<kRows>(source.template half_of_step<0>(first + step), x, s);
    if (kLow && kHigh) source.part_loads();  // the codes of a half are all that has registers
    if (kHigh)
      add_four<kRows>(source.template half_of_step<1>(first + step), x + (kCols - 4) * side, s);
  }
}

inline Index widen(const NarrowSums& s, int factor) {
  const __m256i factors = _mm256_set1_epi16(factor);
  return {_mm256_madd_epi16((__m256i)s.lo, factors), _mm256_madd_epi16((__m256i)s.hi, factors)};
}

/// What has no place in registers: the results, and sums of the columns of a group so far.
template <int kRows>
struct alignas(64) Kept {
  float results[kRows][kLanes], sums[kRows][kLanes];
};

template <int kRows>
[[gnu::always_inline]] inline void keep_sums(const NarrowSums (&s)[kRows], int factor, bool first,
                                             Kept<kRows>& kept) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    const Index c = widen(s[i], factor);
    store(kept.sums[i], as_float(first ? c : add(c, as_int(load(kept.sums[i])))));
  }
}

/// All columns of a group but for what is left in s. @returns whether there are sums in `kept`
template <GroupKind kKind, typename Source, int kRows>
[[gnu::always_inline]] inline bool sum_group(Source& source, const int8_t* x, size_t cols,
                                             size_t side, NarrowSums (&s)[kRows],
                                             Kept<kRows>& kept) {
  constexpr bool kBytes = Source::kCode == PackedCode::kEightBit;
  constexpr size_t kCols = kColsOfStep<Source::kCode>, kSteps = kNarrowCols / kCols;
  const size_t steps = cols / kCols;
  for (size_t step = 0;; step += kSteps, x += kNarrowCols * side) {
    const size_t count = kKind != GroupKind::kAny || steps - step > kSteps ? kSteps : steps - step;
    if constexpr (kBytes) {
      add_nibbles<false, true>(source, step, count, x, side, s);
      keep_sums(s, 16, step == 0, kept);
      add_nibbles<true, false>(source, step, count, x, side, s);
    } else {
      add_nibbles<true, true>(source, step, count, x, side, s);
    }
    if (step + kSteps >= steps) return kBytes || step > 0;
    keep_sums(s, 1, !kBytes && step == 0, kept);
  }
}

/// Scales the sums of a group and adds them to the results.
template <bool kMore, typename Source, int kRows>
[[gnu::always_inline]] inline void add_group(const Source& source, bool zeros, const Rows& x,
                                             const NarrowSums (&s)[kRows], Kept<kRows>& kept) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    const Index start = splat_int(static_cast<uint32_t>(x.starts[i]));
    Index c = add(widen(s[i], 1), zeros ? mul_16(source.zeros(0), start) : start);
    if (kMore) c = add(c, as_int(load(kept.sums[i])));
    const Vec scale = mul(source.scale(0), splat(x.scales[i]));
    store(kept.results[i], fma(to_float(c), scale, load(kept.results[i])));
  }
}

// Not inlined, so that a loop has the registers for itself.
template <GroupKind kKind, typename Source, int kRows, int kSide>
[[gnu::noinline]] void product_tile(const PackedWeight& w, const Cut& cut, Source source,
                                    const Rows& rows, const float* bias) {
  static_assert(Source::kTiles == 1, "two registers for 16 rows of the weight");
  const size_t n = rows_of_tile(w, cut.tile), side = kSide > 0 ? kSide : rows.side;
  const bool zeros = kKind == GroupKind::kAny ? w.has_zeros : kKind == GroupKind::kZeros;
  Rows x = rows;
  x.values += cut.begin * w.group_stride * side;
  x.scales += cut.begin * side;
  x.starts += cut.begin * side;
  Kept<kRows> kept;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
    store(kept.results[i], cut.begin == 0 ? zero() : load_some(x.y + i * x.ldy, n));
  const float* y = x.y;
  for (size_t g = cut.begin; g < cut.end; ++g, y += x.ldy) {
    if (g - cut.begin < kRows) __builtin_prefetch(y, 1);  // as product.h
    source.next_group();
    NarrowSums s[kRows];
    const bool more = sum_group<kKind>(source, x.values, w.group_stride, side, s, kept);
    __asm__("" : "+m"(kept));  // else results would be held in registers that s needs
    more ? add_group<true>(source, zeros, x, s, kept) : add_group<false>(source, zeros, x, s, kept);
    x.values += w.group_stride * side;
    x.scales += side;
    x.starts += side;
  }
  const bool add_bias = bias != nullptr && cut.end == w.groups;
  const Vec offset = add_bias ? load_some(bias + cut.tile * kLanes, n) : zero();
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* const to = x.y + i * x.ldy;
    const Vec all = load(kept.results[i]);
    const Vec result = add_bias ? add(all, offset) : all;
    n < kLanes ? store_partial(to, result, n) : store(to, result);
  }
}

}  // namespace
}  // namespace llmkit
