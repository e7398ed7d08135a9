#pragma once

#include "cpu/attention/touched_reference.h"
#include "cuda/attention/test_cache.h"

// What is not finite makes NaN of what it has to do with, and touches no bit of anything else.

namespace llmkit::cuda::testing {

/// A key that is not finite makes NaN of what sees it and of nothing else.
inline void check_extremes(Checks& checks) {
  for (const float bad : {INFINITY, -INFINITY, NAN})
    for (const bool rounded : {false, true})
      for (const KvType type : {KvType::kF32, KvType::kBf16, KvType::kInt8}) {
        Problem problem({1, 6, 6, 1, 1, 20}, {}, {});
        problem.k[2 * 20 + 3] = bad;
        problem.q[3] = 1;
        const std::vector<float> y = in_chunks(problem, rounded, type, 6, {{}, {}, 0});
        for (size_t i = 0; i < 2 * 20; ++i) checks.that("before", std::isfinite(y[i]));
        if (std::isnan(bad) || type == KvType::kInt8) checks.that("after", std::isnan(y[3 * 20]));
      }
}

/// Rows before one whose key or value is not finite have the bits that they have without it; the
/// others are not finite, wherever in a tile they are.
inline void check_bad_row(Checks& checks, const Problem& clean, Problem problem, size_t bad,
                          bool rounded) {
  const Shape& s = clean.shape;
  const DeviceProblem good_one(clean, rounded), bad_one(problem, rounded);
  const auto check = [&](const std::vector<float>& got, const std::vector<float>& want) {
    const size_t row = s.H * s.E;
    checks.same("rows that do not see it", got.data(), want.data(), bad * row);
    for (size_t i = bad * row; i < got.size(); i += s.E)
      checks.that("rows that see it", !std::isfinite(got[i + 3]));
  };
  check(attend(bad_one.args).y, attend(good_one.args).y);
  for (const KvType type : {KvType::kF32, KvType::kBf16, KvType::kInt8})
    for (const size_t chunk : {size_t{7}, s.T})
      check(in_chunks(problem, rounded, type, chunk, {{}, {}, 0}),
            in_chunks(clean, rounded, type, chunk, {{}, {}, 0}));
}

/// The last query alone, whose window leaves out the key: no part of its sum.
inline void check_left_out(Checks& checks, const Problem& clean, const Problem& problem,
                           bool rounded) {
  const DeviceProblem good_one(clean, rounded), bad_one(problem, rounded);
  const std::vector<float> want = attend(good_one.args).y, got = attend(bad_one.args).y;
  checks.same("a key before the window", got.data(), want.data(), want.size());
}

/// The gradients of a problem and of one that differs in a value that is not finite.
struct BadGradients {
  Gradients want, got;
  bool rounded;

  BadGradients(const Problem& clean, const Problem& problem, bool with_bf16) : rounded(with_bf16) {
    const DeviceProblem good_one(clean, rounded), bad_one(problem, rounded);
    want = gradients_of(good_one, attend(good_one.args));
    got = gradients_of(bad_one, attend(bad_one.args));
  }

  /// `all`: all that is touched must be NaN, not the queries only. An infinite key may have a
  /// weight of 0, and exact gradients of values need no other value.
  void check(Checks& checks, const TouchedRows& touched, size_t E, bool must, bool all) const {
    TouchedRows::check(checks, "dq", touched.queries, got.dq.data(), want.dq.data(), E, must);
    TouchedRows::check(checks, "dk", touched.keys, got.dk.data(), want.dk.data(), E, must && all);
    TouchedRows::check(checks, "dv", touched.keys, got.dv.data(), want.dv.data(), E,
                       must && all && rounded);
  }
};

/// One value of k, v, q and dy each, in the middle of a tile and of a segment.
inline void check_bad_gradients(Checks& checks, const Problem& clean, float bad, bool rounded) {
  const Shape& s = clean.shape;
  const size_t position = s.S / 2 + 7;
  const size_t key = (s.B * s.S - s.S + position) * s.K, query = (s.B * s.T - s.T + position) * s.H;
  const bool must = rounded || std::isnan(bad);
  for (std::vector<float> Problem::*part : {&Problem::k, &Problem::v, &Problem::q, &Problem::dy}) {
    const bool of_key = part == &Problem::k || part == &Problem::v;
    Problem problem = clean;
    (problem.*part)[(of_key ? key : query) * s.E + 3] = bad;
    const BadGradients gradients(clean, problem, rounded);
    const TouchedRows touched = of_key ? TouchedRows::of_key(clean.host(), key)
                                       : TouchedRows::of_query(clean.host(), query);
    gradients.check(checks, touched, s.E, must, part != &Problem::k || std::isnan(bad));
  }
}

inline void check_gradients_not_finite(Checks& checks) {
  for (const float bad : {INFINITY, -INFINITY, NAN, 3.4e38f})
    for (const bool rounded : {false, true}) {
      if (!rounded && std::isfinite(bad)) continue;  // only bf16 cannot hold it
      check_bad_gradients(checks, Problem({2, 100, 100, 2, 1, 20}, {}, {}), bad, rounded);
      check_bad_gradients(checks, Problem({1, 90, 90, 4, 2, 20}, {}, {9, 23}), bad, rounded);
    }
  for (const size_t E : {96, 128, 256})
    check_bad_gradients(checks, Problem({1, 70, 70, 1, 1, E}, {1.5f, true}, {30}), NAN, true);
}

inline void check_not_finite(Checks& checks) {
  for (const float bad : {INFINITY, -INFINITY, NAN, 3.4e38f})
    for (const bool rounded : {false, true}) {
      if (!rounded && std::isfinite(bad)) continue;  // only bf16 cannot hold it
      const Problem clean({1, 100, 100, 2, 1, 20}, {}, {});
      Problem values = clean;
      values.v[81 * 20 + 3] = bad;
      check_bad_row(checks, clean, values, 81, rounded);
      if (!std::isnan(bad)) continue;
      Problem keys = clean;
      keys.k[81 * 20 + 3] = bad;
      check_bad_row(checks, clean, keys, 81, rounded);
    }
  for (const bool rounded : {false, true}) {
    const Problem clean({1, 1, 100, 2, 1, 20}, {}, {7});
    Problem values = clean;
    values.v[90 * 20 + 3] = NAN;
    check_left_out(checks, clean, values, rounded);
  }
}

}  // namespace llmkit::cuda::testing
