#pragma once

#include "cpu/quantize/candidates.h"
#include "cpu/quantize/levels.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

/// What the codes of nf4 and fp4 stand for. kReach is how far the zero point may move.
struct CodebookLevels {
  const Cells& cells;
  static constexpr int kReach = 0;

  /// Divides by the scale as the codes are chosen.
  auto steps_of(float scale) const {
    return [factor = splat(1 / scale)](Vec v) { return mul(v, factor); };
  }
  /// The level nearest to so many steps, counted from the zero point.
  Vec nearest(Vec steps, Vec) const { return nearest_value(steps, cells); }
  float stored(float scale) const { return scale; }
  float shifted(float zero, int) const { return zero; }
};

/// The integers within -half .. half - 1, less the zero point.
template <bool kZeroPoints>
struct IntegerLevels {
  float half;
  ScaleType type;
  static constexpr int kReach = kZeroPoints ? kZeroReach : 0;

  auto steps_of(float scale) const {
    return [scale = splat(scale)](Vec v) { return div(v, scale); };
  }
  Vec nearest(Vec steps, Vec zero) const {
    const Vec low = splat(-half), high = splat(half - 1);
    if (kZeroPoints) steps = add(steps, zero);
    const Vec code = to_float(to_int(smaller(larger(steps, low), high)));
    return kZeroPoints ? sub(code, zero) : code;
  }
  float stored(float scale) const { return stored_scale(scale, type); }
  float shifted(float zero, int shift) const {
    const float point = zero + static_cast<float>(shift);
    return point < -half ? -half : point > half - 1 ? half - 1 : point;
  }
};

/// Sums over a group of x, in levels l of a grid of scale s: (x - l s)², x l and l².
struct Fit {
  float errors, products, squares;
};

template <typename Levels>
inline Fit fit_of(const float* x, size_t n, Grid grid, const Levels& levels) {
  const Vec scale = splat(grid.scale), point = splat(grid.zero);
  const auto steps = levels.steps_of(grid.scale);
  Vec errors = zero(), products = zero(), squares = zero();
  each_vector(x, n, [&](Vec v, size_t) {
    const Vec level = levels.nearest(steps(v), point), error = sub(v, mul(level, scale));
    errors = add(errors, mul(error, error));
    products = add(products, mul(v, level));
    squares = add(squares, mul(level, level));
  });
  return {sum(errors), sum(products), sum(squares)};
}

/// The best scale for the codes of a candidate, and by how much less than the squares of x its
/// error is.
struct Candidate {
  float scale, gain;
};

/// The best candidate with a zero point: a lane for each factor. Its gain is 0 where none has any.
template <typename Levels>
inline Candidate best_factor(const float* x, size_t n, Grid nearest, const Levels& levels) {
  static_assert(kSearchFactors == kLanes);
  float multiples[kLanes];
  for (int i = 0; i < kLanes; ++i)
    multiples[i] = static_cast<float>(kFirstFactor + i * i) / kFactorUnit;
  const Vec factors = mul(splat(1 / nearest.scale), load(multiples)), point = splat(nearest.zero);
  Vec products = zero(), squares = zero();
  for (size_t i = 0; i < n; ++i) {
    const Vec value = splat(x[i]), level = levels.nearest(mul(value, factors), point);
    products = add(products, mul(value, level));
    squares = add(squares, mul(level, level));
  }
  const Vec scales = div(products, squares), gains = mul(products, scales);
  // NaN, where all levels are 0, becomes 0. The bits of numbers >= 0 have their order.
  const Vec some = select(less(zero(), gains), gains, zero());
  const float most = float_of(largest_lane(as_int(some)));
  float lanes[kLanes];
  store(lanes, some);
  int best = 0;
  while (lanes[best] != most) ++best;
  store(lanes, scales);
  return {lanes[best], most};
}

/// The best scale for the codes of the best candidate.
template <typename Levels>
inline Grid best_candidate(const float* x, size_t n, Grid nearest, const Levels& levels) {
  Grid best = nearest;
  float most = 0;
  for (int shift = -Levels::kReach; shift <= Levels::kReach; ++shift) {
    const float point = levels.shifted(nearest.zero, shift);
    const Candidate found = best_factor(x, n, {nearest.scale, point}, levels);
    if (!(found.gain > most)) continue;
    most = found.gain;
    best = {found.scale, point};
  }
  return best;
}

/// The grid with the least error of those that candidates.h describes.
template <typename Levels>
inline Grid searched_grid(const float* x, size_t n, float magnitude, Grid nearest,
                          const Levels& levels) {
  if (magnitude < kSmallestSearched || magnitude > kLargestSearched) return nearest;
  Grid best = nearest, next = best_candidate(x, n, nearest, levels);
  float least = fit_of(x, n, nearest, levels).errors;
  for (int round = 0; round < kSearchRounds; ++round) {
    next.scale = levels.stored(next.scale);
    const Fit fit = fit_of(x, n, next, levels);
    if (fit.errors < least) {
      least = fit.errors;
      best = next;
    }
    if (!(fit.squares > 0)) break;  // all are 0: no scale is better
    next.scale = fit.products / fit.squares;
  }
  return best;
}

}  // namespace
}  // namespace llmkit
